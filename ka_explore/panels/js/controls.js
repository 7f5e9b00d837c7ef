// Python to paste: a block of code with a button that copies it, also where the page may not use the clipboard.

async function copyText(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", near, {class: "ka-hidden", "aria-hidden": "true", tabindex: "-1"});
    const before = document.activeElement;
    area.value = text;
    area.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { /* the text can be marked by hand */ }
    area.remove();
    before?.focus?.({preventScroll: true});
    return done;
  }
}

function copyButton(into, root, text, title = "copy this Python") {
  const made = button(into, "copy", title, async () => {
    const done = await copyText(text(), root);
    made.textContent = done ? "copied ✓" : "mark it by hand";
    setTimeout(() => { made.textContent = "copy"; }, 1500);
  }, {class: "ka-copy"});
  return made;
}

// Keys that are meant for a control must not move between the notebook's cells or run them.
function keysStay(root) {
  root.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter")) return;
    if (event.target.closest("input, select, textarea, button, summary, [role=treeitem]")) event.stopPropagation();
  });
}
