// What can be measured of a workbench's looks. Read by test_looks.py.

const SCROLLS = ["auto", "scroll"];

function seen(element) {
  const box = element.getBoundingClientRect();
  return element.checkVisibility({visibilityProperty: true, opacityProperty: true}) && box.width > 0;
}

function told(element) {
  const words = element.getAttribute("aria-label") || element.title || element.textContent || element.className;
  return `${element.tagName.toLowerCase()} "${words.slice(0, 40)}"`;
}

// The elements between one and its panel, itself first.
function upwards(element, root) {
  const found = [];
  for (let above = element; above && above !== root; above = above.parentElement) found.push(above);
  return found;
}

// Words and controls that leave their panel, are cut without three dots, or lie on each other.
function faults() {
  const found = [];
  for (const root of document.querySelectorAll("section.ka")) {
    if (!seen(root)) continue;
    const frame = root.getBoundingClientRect(), name = root.classList[1], controls = [];
    if (root.scrollWidth > root.clientWidth + 1) found.push(`${name}: ${root.scrollWidth} px in ${root.clientWidth} px`);
    for (const element of root.querySelectorAll("button, select, input, output, label, h4, th, td, span, summary")) {
      if (!seen(element) || element.closest(".ka-hidden, .ka-tip, svg, option")) continue;
      const path = upwards(element, root), looks = path.map(above => getComputedStyle(above));
      if (looks.some(style => ["absolute", "fixed", "sticky"].includes(style.position))) continue;
      if (looks.slice(1).some(style => SCROLLS.includes(style.overflowX) || SCROLLS.includes(style.overflowY))) continue;
      const box = element.getBoundingClientRect();
      const leaves = box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
      if (leaves && !looks.slice(1).some(style => style.textOverflow === "ellipsis")) found.push(`${name}: ${told(element)} leaves its panel`);
      const cut = element.scrollWidth > element.clientWidth + 1 && looks[0].overflowX !== "visible" && looks[0].textOverflow !== "ellipsis";
      if (cut && element.matches("button, output, label, h4, .ka-head")) found.push(`${name}: ${told(element)} is cut`);
      if (element.matches("button, select, input:not([type=range]), output")) controls.push([element, box]);
    }
    controls.forEach(([one, a], i) => controls.slice(i + 1).forEach(([other, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 1 && !one.contains(other)) found.push(`${name}: ${told(one)} lies on ${told(other)}`);
    }));
  }
  return found;
}

// Where everything stands that a hand may press or an eye reads, from the player's corner: what must not move by itself.
function places() {
  const origin = document.querySelector("section.ka-player").getBoundingClientRect();
  const all = document.querySelectorAll("section.ka, .ka button, .ka select, .ka input, .ka .ka-head, .ka-points-plot, .ka-history-plot, .ka-tables-table");
  return Object.fromEntries([...all].filter(seen).map((element, place) => {
    const box = element.getBoundingClientRect();
    return [`${place} ${element.tagName.toLowerCase()} ${element.classList[0] ?? element.parentElement.className}`, [box.left - origin.left, box.top - origin.top, box.width, box.height]];
  }));
}
