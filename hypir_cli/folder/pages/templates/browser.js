/* The image browser of a report: choose an image, two versions and a mode; figures of the image beside it. */
"use strict";

(() => {
  const { images, columns, orders = [], mode: firstMode = "slider" } = readData("data");
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
  const search = find("search");
  const order = find("order");
  let listed = images.map((_, index) => index);
  order.append(...["by name", ...orders.map((item) => item.label)].map((label, index) => new Option(label, index - 1)));
  order.parentElement.hidden = !orders.length;

  const current = () => images[Number(pick.value)];
  const place = () => listed.indexOf(Number(pick.value));

  /* The images whose names hold the words that are looked for, in the order that is asked for; unmeasured ones last. */
  function list() {
    const words = search.value.normalize("NFC").toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const holds = (name) => words.every((word) => name.includes(word));
    const costs = orders[Number(order.value)]?.costs;
    listed = images.map((_, index) => index).filter((index) => holds(images[index].name.normalize("NFC").toLocaleLowerCase()));
    if (costs) listed.sort((a, b) => (costs[b] ?? -Infinity) - (costs[a] ?? -Infinity) || a - b);
    pick.replaceChildren(...listed.map((index) => new Option(images[index].name, index)));
    pick.disabled = !listed.length;
    find("count").textContent = `${listed.length} of ${images.length} images`;
  }

  function relist() {
    list();
    if (listed.length) choose(listed[0]);
    else for (const name of ["previous", "next"]) find(name).disabled = true;
  }
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
    find("previous").disabled = place() <= 0;
    find("next").disabled = place() === listed.length - 1;
  }

  function arrange(wanted) {
    mode = wanted;
    for (const button of root.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    for (const side of sides) side.disabled = mode === "side";
  }

  function choose(index) {
    if (index < 0) return;
    if (!listed.includes(index)) {
      search.value = "";
      list();
    }
    pick.value = index;
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
  function step(count) {
    if (listed.length) choose(listed[Math.min(listed.length - 1, Math.max(0, place() + count))]);
  }
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  search.addEventListener("input", relist);
  order.addEventListener("change", relist);
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
    const steps = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (steps) step(steps);
    else if (event.key === " " && divider && !event.target.closest?.("button, a")) divider.flip();
    else return;
    event.preventDefault();
  });
  connectZoom(view, stage, root);
  // One picture leaves nothing to step to.
  for (const bar of [find("image").closest(".group"), search.closest(".bar")]) bar.hidden = images.length === 1;
  arrange(firstMode);
  list();
  choose(listed[0]);
})();
