// Findings: a button that examines, then what was found, worst first; a click opens the evidence and what to try.

export default panel("findings", "findings of the diagnosis", ({model, session, root, undo}) => {
  const opened = new Set();  // names of findings that are open
  let cards = [];

  const head = make("div", root, {class: "ka-row ka-fi-head"});
  const go = button(head, "diagnose", "look for what is wrong with this branch", () => post({do: "diagnose"}), {class: "ka-main"});
  const about = make("span", head, {class: "ka-grow ka-fi-about", role: "status"});
  const alarm = make("div", root, {class: "ka-fi-problem", role: "alert", hidden: true});
  const body = make("div", root, {class: "ka-fi-body"});
  keysStay(root);

  const report = () => model.get("report");
  const post = message => session.post({...message, panel: model.get("panel_id")});
  const redrawn = () => { draw(); title(); };

  function title() {
    const {branch, step, examining, teachers} = model.get("now"), found = report();
    go.disabled = Boolean(examining);
    go.textContent = examining ? "examining …" : found.key ? "diagnose again" : "diagnose";
    go.title = `look for what is wrong with ${branch} as it is now, at step ${step}`;
    about.replaceChildren();
    if (examining) about.textContent = `examining ${examining}: ${teachers} teachers, the common space, the training; some seconds`;
    else if (found.key) {
      make("b", about, {}, found.findings.length ? found.summary : `No warning in run ‘${found.branch}’.`);
      const old = found.step !== step;
      make("span", about, {class: old ? "ka-fi-old" : "ka-quiet"}, ` of step ${spaced(found.step)}${old ? `; the run is at ${spaced(step)} now` : ""}`);
    } else about.textContent = branch;
  }

  function draw() {
    const found = report();
    if (!emptied(body, found.key ?? "")) return;
    cards = [];
    body.scrollTop = 0;
    if (!found.key) {
      const empty = make("div", body, {class: "ka-fi-empty ka-quiet"});
      make("p", empty, {}, "Not diagnosed yet.");
      make("p", empty, {}, "Press diagnose: it looks at how the teachers are fed, at what the nets meet in and at the training, and says what is wrong, with its evidence and forks to try.");
      return;
    }
    if (!found.findings.length) {
      const well = make("div", body, {class: "ka-fi-well"});
      make("div", well, {class: "ka-fi-tick", "aria-hidden": "true"}, "✓");
      make("div", well, {class: "ka-head"}, "healthy: nothing found");
      make("div", well, {class: "ka-quiet"}, `${found.checks} checks made${found.skipped.length ? `, ${found.skipped.length} could not be` : ""}`);
    }
    cards = found.findings.map(card);
    for (const [name, rows] of [["what was checked", found.checked], ["what could not be checked", found.skipped]]) if (rows.length) {
      const more = make("details", body, {class: "ka-fi-more"});
      make("summary", more, {}, `${name} (${rows.length})`);
      table(more, rows);
    }
    pictures();
  }

  function table(into, rows) {
    const made = make("table", into, {class: "ka-fi-table"});
    for (const [what, value] of rows) {
      const line = make("tr", made);
      make("th", line, {scope: "row"}, what);
      make("td", line, {class: "ka-numbers"}, value);
    }
  }

  function card(finding, index) {
    const made = make("details", body, {class: `ka-fi-card ka-fi-${finding.grade}`, "data-finding": finding.name});
    const line = make("summary", made);
    make("span", line, {class: "ka-fi-grade"}, `${finding.glyph} ${finding.grade}`);
    make("span", line, {class: "ka-fi-title"}, finding.title);
    make("span", line, {class: "ka-quiet ka-small ka-numbers ka-fi-numbers"}, finding.evidence.slice(0, 2).map(([what, value]) => `${what} ${value}`).join(" · "));
    const inside = make("div", made, {class: "ka-fi-inside"});
    if (finding.because) make("p", inside, {}, `Probably because of: ${finding.because}`);
    if (finding.why) make("p", inside, {}, `Why it hurts: ${finding.why}`);
    const sides = make("div", inside, {class: "ka-fi-sides"});
    if (finding.evidence.length) table(sides, finding.evidence);
    const picture = finding.picture ? make("div", sides, {class: "ka-fi-picture ka-quiet"}, "drawing the evidence …") : null;
    finding.attempts.forEach((attempt, i) => {
      const box = make("div", inside, {class: "ka-fi-attempt"});
      make("p", box, {}, attempt.text);
      if (attempt.fork) {
        button(make("div", box, {class: "ka-row"}), attempt.label, "fork and play it", () => post({do: "attempt", of: report().branch, finding: index, attempt: i}), {class: "ka-fi-try"});
      }
      if (attempt.code) {
        const row = make("div", box, {class: "ka-fi-code"});
        make("pre", row, {tabindex: "0", "aria-label": "Python that does the same"}, attempt.code);
        copyButton(row, root, () => attempt.code);
      }
    });
    const name = `${finding.name} ${finding.subject}`;
    made.open = opened.has(name);
    made.addEventListener("toggle", () => {
      opened[made.open ? "add" : "delete"](name);
      if (made.open && picture && !model.get("pictures")[index]) post({do: "evidence", finding: index});
    });
    return {picture, title: finding.title};
  }

  function pictures() {
    const found = model.get("pictures");
    cards.forEach(({picture, title}, i) => {
      if (picture && found[i] && !picture.querySelector("img")) picture.replaceChildren(make("img", null, {src: found[i], alt: `evidence: ${title}`}));
    });
  }

  function troubled() {
    const {text, offers, asked} = model.get("problem");
    complain(alarm, text && `✕ ${text}`, offers, at => post({do: "fork", ...asked, at}));
  }

  following(model, undo, {now: title, report: redrawn, pictures, problem: troubled});
  redrawn();
  troubled();
});
