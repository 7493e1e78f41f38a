/* Pictures that are zoomed and moved together. Pages are plain files: no modules, no requests. */
"use strict";

const MAX_ZOOM = 32;

/** Where all panes look: zoom (1 fits the pane) and the image point at the centre, 0..1. */
class View {
  constructor() { this.panes = []; this.listeners = []; this.reset(); }
  reset() { this.zoom = 1; this.x = 0.5; this.y = 0.5; this.changed(); }
  /** Zoom by a factor; the image point (x, y) stays where it is on the screen. */
  zoomBy(factor, x = this.x, y = this.y) {
    const before = this.zoom;
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, before * factor));
    const keep = before / this.zoom;
    this.moveTo(x + (this.x - x) * keep, y + (this.y - y) * keep);
  }
  moveTo(x, y) {
    const clamp = (value) => Math.min(1, Math.max(0, value));
    this.x = this.zoom === 1 ? 0.5 : clamp(x);
    this.y = this.zoom === 1 ? 0.5 : clamp(y);
    this.changed();
  }
  changed() {
    for (const pane of this.panes) pane.layout();
    for (const listener of this.listeners) listener(this);
  }
}

/** A window onto one or more versions of an image lying on top of each other. */
class Pane {
  constructor(element, view) {
    this.element = element;
    this.view = view;
    this.images = [];
    this.width = 1;
    this.height = 1;
    element.classList.add("pane");
    view.panes.push(this);
    this.listen();
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(element);
  }
  /** Put a version on top; returns its layer, which may be clipped. */
  add(version) {
    const layer = document.createElement("div");
    layer.className = "layer";
    const image = document.createElement("img");
    image.alt = version.alt;
    image.draggable = false;
    image.addEventListener("load", () => {
      // Versions may differ in size (an input before enlarging): all are drawn as large as the largest.
      this.width = Math.max(this.width, image.naturalWidth);
      this.height = Math.max(this.height, image.naturalHeight);
      this.layout();
    });
    image.src = version.src;
    layer.append(image);
    this.element.append(layer);
    this.images.push(image);
    return layer;
  }
  close() {
    this.observer.disconnect();
    this.view.panes = this.view.panes.filter((pane) => pane !== this);
  }
  /** Screen pixels per image pixel. */
  scale() {
    const { clientWidth, clientHeight } = this.element;
    return Math.min(clientWidth / this.width, clientHeight / this.height) * this.view.zoom;
  }
  layout() {
    const scale = this.scale();
    const left = this.element.clientWidth / 2 - this.view.x * this.width * scale;
    const top = this.element.clientHeight / 2 - this.view.y * this.height * scale;
    for (const image of this.images) {
      image.style.width = `${this.width}px`;
      image.style.height = `${this.height}px`;
      image.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
      image.classList.toggle("crisp", scale >= 2);
    }
  }
  /** The image point under the pointer, 0..1. */
  pointAt(event) {
    const box = this.element.getBoundingClientRect();
    const scale = this.scale();
    return [
      this.view.x + (event.clientX - box.left - box.width / 2) / (this.width * scale),
      this.view.y + (event.clientY - box.top - box.height / 2) / (this.height * scale),
    ];
  }
  listen() {
    const { element, view } = this;
    element.addEventListener("pointerdown", (event) => {
      if (event.target.closest(".handle")) return;
      element.setPointerCapture(event.pointerId);
      element.classList.add("dragging");
      this.last = [event.clientX, event.clientY];
    });
    element.addEventListener("pointermove", (event) => {
      if (!this.last) return;
      const scale = this.scale();
      const [x, y] = this.last;
      this.last = [event.clientX, event.clientY];
      view.moveTo(
        view.x - (event.clientX - x) / (this.width * scale),
        view.y - (event.clientY - y) / (this.height * scale),
      );
    });
    for (const name of ["pointerup", "pointercancel"]) {
      element.addEventListener(name, () => { this.last = null; element.classList.remove("dragging"); });
    }
    element.addEventListener("dblclick", (event) => view.zoomBy(2, ...this.pointAt(event)));
    element.addEventListener("wheel", (event) => {
      // Only a stage in use takes the wheel; otherwise the page could not be scrolled past it.
      if (!event.ctrlKey && !element.closest(".stage").contains(document.activeElement)) return;
      event.preventDefault();
      view.zoomBy(Math.exp(-event.deltaY / 300), ...this.pointAt(event));
    }, { passive: false });
  }
}

/** The divider between two layers of a pane: pointer and keyboard. */
class Divider {
  constructor(pane, upper, labels) {
    this.pane = pane;
    this.upper = upper;
    this.element = document.createElement("div");
    this.element.className = "handle";
    this.element.tabIndex = 0;
    for (const [name, value] of Object.entries({
      role: "slider", "aria-label": `Divider: ${labels[0]} left, ${labels[1]} right`,
      "aria-valuemin": 0, "aria-valuemax": 100, "aria-orientation": "horizontal",
    })) this.element.setAttribute(name, value);
    pane.element.append(this.element);
    this.listen();
    this.moveTo(50);
  }
  moveTo(percent) {
    this.percent = Math.min(100, Math.max(0, percent));
    this.element.style.left = `${this.percent}%`;
    this.element.setAttribute("aria-valuenow", Math.round(this.percent));
    this.upper.style.clipPath = `inset(0 0 0 ${this.percent}%)`;
  }
  /** Show one whole picture, then the other. */
  flip() { this.moveTo(this.percent > 50 ? 0 : 100); }
  listen() {
    const element = this.element;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.dragging = true;
    });
    element.addEventListener("pointermove", (event) => {
      if (!this.dragging) return;
      const box = this.pane.element.getBoundingClientRect();
      this.moveTo(((event.clientX - box.left) / box.width) * 100);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      element.addEventListener(name, () => { this.dragging = false; });
    }
    element.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 10 : 2;
      const target = {
        ArrowLeft: this.percent - step, ArrowRight: this.percent + step, Home: 0, End: 100,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      this.moveTo(target);
    });
  }
}

/** Buttons for zooming, with a readout; keys + - 0 inside the stage. */
function connectZoom(view, stage, bar) {
  const readout = bar.querySelector("[data-zoom=readout]");
  const actions = {
    in: () => view.zoomBy(2), out: () => view.zoomBy(0.5), fit: () => view.reset(),
    pixels: () => {
      const pane = view.panes[0];
      view.zoomBy(1 / (pane.scale() * window.devicePixelRatio));
    },
  };
  for (const [name, action] of Object.entries(actions)) {
    bar.querySelector(`[data-zoom=${name}]`)?.addEventListener("click", action);
  }
  view.listeners.push(() => { readout.value = `${view.zoom.toFixed(view.zoom < 10 ? 1 : 0)}×`; });
  stage.addEventListener("keydown", (event) => {
    const action = { "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.fit }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
  view.changed();
}

// Inside another page the picture is what counts.
if (window.self !== window.top) document.documentElement.classList.add("framed");

function readData(id) {
  return JSON.parse(document.getElementById(id).textContent);
}
