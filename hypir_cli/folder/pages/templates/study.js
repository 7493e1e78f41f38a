/* The rating page: pairs one after another, ratings kept in the browser and saved as a file. */
"use strict";

(() => {
  const { study, pairs } = readData("data");
  const root = document.getElementById("study");
  const find = (name) => root.querySelector(`[data-part=${name}]`);
  const stage = find("stage");
  const form = find("form");
  const view = new View();
  const storageKey = `hypir-study-${study}`;
  const kept = load();
  let panes = [];
  let at = 0;
  let shownAt = Date.now();

  function load() {
    try {
      return JSON.parse(localStorage.getItem(storageKey)) ?? { rater: "", ratings: {} };
    } catch {
      return { rater: "", ratings: {} };
    }
  }

  function keep() {
    // A browser may refuse storage for local files; the saved file still works.
    try { localStorage.setItem(storageKey, JSON.stringify(kept)); } catch { /* nothing to keep it in */ }
  }

  for (const fieldset of form.querySelectorAll("fieldset")) {
    const scale = document.createElement("div");
    scale.className = "scale";
    for (let value = 0; value <= 10; value += 1) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: fieldset.dataset.side, value });
      const text = document.createElement("span");
      text.textContent = value;
      label.append(input, text);
      scale.append(label);
    }
    fieldset.append(scale);
  }

  const complete = (rating) => rating?.a !== undefined && rating?.b !== undefined;
  const numRated = () => pairs.filter((pair) => complete(kept.ratings[pair.id])).length;

  function refresh() {
    find("back").disabled = at === 0;
    find("forward").disabled = at === pairs.length - 1 || !complete(kept.ratings[pairs[at].id]);
    find("save").disabled = numRated() === 0;
    find("save").classList.toggle("primary", numRated() === pairs.length);
    find("count").textContent = `Pair ${at + 1} of ${pairs.length}, ${numRated()} rated`;
    find("progress").max = pairs.length;
    find("progress").value = numRated();
  }

  function show(index) {
    at = index;
    shownAt = Date.now();
    for (const pane of panes) pane.close();
    stage.replaceChildren();
    panes = ["a", "b"].map((side) => {
      const element = document.createElement("div");
      stage.append(element);
      const pane = new Pane(element, view);
      pane.add({ src: pairs[at][side], alt: side === "a" ? "Left picture" : "Right picture" });
      return pane;
    });
    form.reset();
    const rating = kept.ratings[pairs[at].id] ?? {};
    for (const side of ["a", "b"]) {
      if (rating[side] !== undefined) form.elements[side].value = String(rating[side]);
    }
    view.reset();
    refresh();
  }

  form.addEventListener("change", (event) => {
    const id = pairs[at].id;
    kept.ratings[id] = {
      ...kept.ratings[id], [event.target.name]: Number(event.target.value),
      seconds: Math.round((Date.now() - shownAt) / 100) / 10,
    };
    keep();
    refresh();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  find("rater").value = kept.rater;
  find("rater").addEventListener("input", () => { kept.rater = find("rater").value; keep(); });
  find("back").addEventListener("click", () => show(at - 1));
  find("forward").addEventListener("click", () => show(at + 1));
  find("save").addEventListener("click", () => {
    const ratings = pairs.filter((pair) => complete(kept.ratings[pair.id]))
      .map((pair) => ({ pair: pair.id, ...kept.ratings[pair.id] }));
    const sheet = { format: "hypir-ratings/1", study, rater: kept.rater, saved: new Date().toISOString(), ratings };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(sheet, null, 2)], { type: "application/json" }));
    link.download = `ratings-${(kept.rater || "rater").replace(/[^\w-]+/g, "_")}.json`;
    link.click();
    // Browsers may begin to read only after this handler has ended.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
  connectZoom(view, stage, root);
  const open = pairs.findIndex((pair) => !complete(kept.ratings[pair.id]));
  show(open < 0 ? 0 : open);
})();
