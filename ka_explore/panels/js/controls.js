// What panels with controls share: Python to paste, what went wrong, keys that stay.

// A button that copies Python, also where the page may not use the clipboard.
function copyButton(into, root, text, {title = "copy this Python", label = "copy", failed = "mark it by hand"} = {}) {
  const made = button(into, label, title, async () => {
    let done = true;
    try { await navigator.clipboard.writeText(text()); } catch { done = selectedAndCopied(text(), root); }
    made.textContent = done ? "copied ✓" : failed;
    setTimeout(() => { made.textContent = label; }, 1500);
  }, {class: "ka-copy"});
  return made;
}

function selectedAndCopied(text, near) {
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

// What went wrong with a fork, and the steps from which the same can be done.
function complain(alarm, words, offers, fork) {
  alarm.replaceChildren();
  alarm.hidden = !words;
  if (!words) return;
  make("span", alarm, {class: "ka-why"}, words);
  for (const {at, text} of offers ?? []) button(alarm, text, `the same changes from step ${at} on`, () => fork(at));
  button(alarm, "✕", "dismiss", () => { alarm.hidden = true; }, {"aria-label": "dismiss"});
}

// Keys that are meant for a control must not move between the notebook's cells or run them.
function keysStay(root) {
  root.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter")) return;
    if (event.target.closest("input, select, textarea, button, summary, [role=treeitem]")) event.stopPropagation();
  });
}
