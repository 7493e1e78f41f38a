/* The image browser of a report: choose an image, two versions and a mode; figures of the image beside it. */
"use strict";

(() => {
  const { images, columns, mode: firstMode = "slider" } = readData("data");
  const root = document.getElementById("browser");
  if (!root || !images.length) return;
  const find = (name) => root.querySelector(`[data-part=${name}]`);
  const stage = find("stage");
  const view = new View();
  let panes = [];
  let divider = null;
  let mode = firstMode;

  const pick = find("image");
  const sides = [find("left"), find("right")];
  pick.append(...images.map((image, index) => new Option(image.name, index)));

  const current = () => images[Number(pick.value)];
  const tag = (text, side) => {
    const element = document.createElement("span");
    element.className = `tag ${side}`;
    element.textContent = text;
    return element;
  };
  const described = (version) => ({ src: version.src, alt: `${current().name}: ${version.label}` });

  function pane() {
    const element = document.createElement("div");
    stage.append(element);
    const made = new Pane(element, view);
    panes.push(made);
    return made;
  }

  function showSlider() {
    const [left, right] = sides.map((side) => current().versions[Number(side.value)]);
    const only = pane();
    only.add(described(left));
    const upper = only.add(described(right));
    only.element.append(tag(left.label, "left"), tag(right.label, "right"));
    divider = new Divider(only, upper, [left.label, right.label]);
  }

  function showSideBySide() {
    const versions = current().versions;
    stage.style.setProperty("--columns", versions.length > 4 ? Math.ceil(versions.length / 2) : versions.length);
    for (const version of versions) {
      const one = pane();
      one.add(described(version));
      one.element.append(tag(version.label, "left"));
    }
  }

  function showFigures() {
    const body = find("figures");
    if (!body) return;
    body.replaceChildren(...current().versions.filter((version) => version.figures).map((version) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = version.label;
      row.append(head, ...columns.map((column) => {
        const cell = document.createElement("td");
        cell.textContent = version.figures[column] ?? "–";
        return cell;
      }));
      return row;
    }));
  }

  function show() {
    for (const old of panes) old.close();
    panes = [];
    divider = null;
    stage.replaceChildren();
    stage.classList.toggle("side", mode === "side");
    (mode === "side" ? showSideBySide : showSlider)();
    showFigures();
    view.changed();
    find("previous").disabled = Number(pick.value) === 0;
    find("next").disabled = Number(pick.value) === images.length - 1;
  }

  function arrange(wanted) {
    mode = wanted;
    for (const button of root.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    for (const side of sides) side.disabled = mode === "side";
  }

  function choose(index) {
    pick.value = Math.min(images.length - 1, Math.max(0, index));
    const labels = current().versions.map((version) => version.label);
    sides.forEach((side, position) => {
      const chosen = side.selectedOptions[0]?.textContent;
      side.replaceChildren(...labels.map((label, at) => new Option(label, at)));
      const kept = labels.indexOf(chosen);
      side.value = kept >= 0 ? kept : position === 0 ? 0 : Math.min(1, labels.length - 1);
    });
    view.reset();
    show();
  }

  pick.addEventListener("change", () => choose(Number(pick.value)));
  find("previous").addEventListener("click", () => choose(Number(pick.value) - 1));
  find("next").addEventListener("click", () => choose(Number(pick.value) + 1));
  for (const side of sides) side.addEventListener("change", show);
  for (const button of root.querySelectorAll("[data-mode]")) {
    button.addEventListener("click", () => { arrange(button.dataset.mode); show(); });
  }
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-image]");
    if (!mark) return;
    choose(images.findIndex((image) => image.name === mark.dataset.image));
    root.scrollIntoView({ behavior: "smooth" });
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("select, input, .handle")) return;
    const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (step) choose(Number(pick.value) + step);
    else if (event.key === " " && divider && !event.target.closest?.("button, a")) divider.flip();
    else return;
    event.preventDefault();
  });
  connectZoom(view, stage, root);
  // One picture leaves nothing to step to.
  find("image").closest(".group").hidden = images.length === 1;
  arrange(firstMode);
  choose(0);
})();
