// What the panel says in words: above the pictures, below them, and of what is being made.

// A step as it is told: whole where it nearly is.
const stepInWords = step => Math.abs(step - Math.round(step)) < 0.05 ? String(Math.round(step)) : step.toFixed(1);

// A title a picture. A branch that has no frame at the step names the step of the frame that it shows.
function entitle({plane, views}, step) {
  const words = stepInWords(step), several = plane.branches.length > 1, nets = plane.nets.map(net => net.name).join(", ");
  plane.branches.forEach((branch, i) => {
    const view = views[i], {frame} = view, first = branch.steps[0], last = branch.steps.at(-1);
    view.name.textContent = several ? branch.name : "";
    view.name.hidden = !several;
    const shown = step > last ? last : step < first ? first : words;
    view.where.textContent = !frame ? "no frame yet" : `step ${shown}${view.width < 380 && several ? "" : ` · ${frame.stage}`}`;
    view.where.title = frame?.stage ?? "";
    view.warned.hidden = !frame?.warns;
    view.warned.textContent = view.warned.title = frame?.warns ? frame.note : "";
    view.said.hidden = !frame?.said;
    view.said.textContent = frame?.said ?? "";
    view.over.setAttribute("aria-label", `${plane.picture.label} of the ${plane.picture.space}, ${branch.name}, step ${words}: ${plane.samples} images of ${nets}. ${frame?.note ?? ""}`);
  });
}

// The line below the pictures: what is selected, what the view keeps, and what is left out. `count` samples are drawn.
function remarks({plane, views, lines, selection}, count) {
  const frame = views.find(view => view.frame)?.frame, {picture, samples} = plane, part = Number(lines);
  if (!frame) return "";
  const every = Math.max(...plane.branches.map(branch => branch.every));
  // What a picture warns of stands in it.
  const kept = views.map(view => view.frame?.note.match(/^keeps (\S+) of the variance/)?.[1] ?? "–");
  const note = views.length > 1 || frame.warns ? `keeps ${kept.join(", ")} of the variance` : frame.note;
  return [
    count < samples && `showing ${spaced(count * plane.nets.length * views.length)} of ${spaced(plane.points * views.length)} points while it moves`,
    selection.length && `${spaced(selection.length)} of ${spaced(samples)} images selected`,
    pairsInWords(plane, views),
    picture.linear ? note && `${picture.how === "pca" ? picture.label : "the class plane"} ${note}` : frame.note,
    picture.note,
    every > 1 && `every ${every}${every === 2 ? "nd" : every === 3 ? "rd" : "th"} snapshot`,
    picture.behind && "the run has gone on since: choose the view again",
    plane.colouring.said,
    part > 0 && part < 1 && `lines for ${spaced(Math.round(part * samples))} of ${spaced(samples)} images`,
  ].filter(Boolean).join(" · ");
}

// The share of pairs found, by teacher: "digits 0-4: 60 % of pairs found, digits 5-9: 52.3 %, by chance 0.4 % (1 of 256)";
// of several branches "60 % / 3 %". Empty where no student and teacher lie in the space.
function pairsInWords({nets, picture}, views) {
  const frames = views.map(view => view.frame).filter(Boolean), having = nets.filter(({name}) => frames.some(frame => frame.pairs[name]));
  if (!having.length) return "";
  const found = having.map(({name}) => `${name}: ${views.map(view => view.frame?.pairs[name] ?? "–").join(" / ")}`);
  found[0] += ` of pairs found${picture.of === "common" ? "" : ` in the ${picture.space}`}`;
  return [...found, `by chance ${frames.find(frame => frame.by_chance).by_chance}`].join(", ");
}

// What is being made in the background, with a button to end it; or what went wrong.
function showJob(into, about, trouble, cancel) {
  into.hidden = !about.how && !trouble;
  into.classList.toggle("ka-points-trouble", Boolean(trouble));
  if (about.how) {
    if (emptied(into, "job")) {
      make("span", into);
      make("progress", into, {max: 1});
      button(into, "cancel", "End it; the picture stays as it is", cancel);
    }
    const left = about.announced ? ` of about ${seconds(about.announced)}` : "", [text, progress] = into.children;
    text.textContent = `${about.name} ${Math.round(100 * about.share)} %${left}`;
    text.title = about.words;
    progress.value = about.share;
  } else if (trouble && emptied(into, {trouble})) {
    make("span", into, {}, trouble);
    button(into, "close", "Hide this", () => { into.hidden = true; });
  }
}
