/* Paste a picture anywhere; keys of the viewer work also while the page around it has the focus. */
"use strict";
(() => {
  const typing = (element) => element.closest("input, textarea, select, [contenteditable]");

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    const field = document.querySelector("#hypir-drop input[type=file]");
    if (!files.length || !field) return;
    const pasted = new DataTransfer();
    pasted.items.add(files[0]);
    field.files = pasted.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    const frame = document.querySelector("#hypir-viewer");
    const keys = [" ", "ArrowLeft", "ArrowRight", "j", "k"];
    if (!frame?.contentDocument || !keys.includes(event.key) || typing(event.target)) return;
    if (event.target.closest("button, a, summary, [role=tab], [role=slider]")) return;
    frame.contentDocument.dispatchEvent(new KeyboardEvent("keydown", { key: event.key }));
    event.preventDefault();
  });
})();
