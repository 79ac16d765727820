// One group, told in full: the picture, what to do, and each finding with its stacks.

const FIRST = 40; // findings of one group that are listed at once

const main = document.getElementById("main");
let redraw = () => {};
let openFinding = () => {};
let headsOfFindings = [];

function showChosen() {
  if (chosen === null) {
    showEmpty();
    return;
  }
  const row = chosen;
  const { group, test } = row;
  const frame = make("div", {
    class: "canvas",
    tabindex: 0,
    role: "group",
    "aria-label": "Picture",
  });
  const notes = make("p", { class: "quiet", hidden: "" });
  const found = make("div", { class: "seen-list" });
  main.replaceChildren(
    make(
      "article",
      { class: "group" },
      backButton(),
      make(
        "p",
        { class: "crumb" },
        make("span", { class: "kind " + row.kind, text: row.kind }),
        make("bdi", { text: row.where, title: test.nodeid }),
        test.outcome ? make("span", { class: "quiet", text: outcomeOf(row) }) : null,
      ),
      make("h1", { text: group.headline }),
      make("p", { class: "codes" }, ...group.codes.map((code) => ruleOf(row, code))),
      make("section", { class: "card", "aria-label": "Picture" }, frame, notes, legend(row)),
      make("div", { class: "pair" }, row.owner ? ownerCard(row) : null, remedyCard(row)),
      make(
        "section",
        { "aria-label": "Findings" },
        make("h2", {
          text:
            row.findings.length === 1
              ? "What was seen"
              : `What was seen: ${count(row.findings.length, "finding")}, one cause`,
        }),
        found,
      ),
      notesOf(test),
    ),
  );
  main.scrollTop = 0;
  fillFindings(row, found);
  redraw = () => {
    const drawn = pictureOf(row, frame.clientWidth, (finding) => openFinding(finding, true));
    frame.replaceChildren(drawn.picture);
    notes.textContent = drawn.notes.join(" ");
    notes.hidden = !drawn.notes.length;
    markPills();
  };
  redraw();
  openFinding(row.lead, false);
}

function outcomeOf({ test, group }) {
  const run = (group.run ?? 1) > 1 ? `, run ${group.run}` : "";
  return `${test.outcome}, ${count(test.loops ?? 0, "loop")}${run}`;
}

function ruleOf(row, code) {
  const finding = row.findings.find((one) => one.code === code);
  const made = link(finding?.url, "");
  made.className = `code ${finding?.severity === "error" ? "error" : "warning"}`;
  made.append(
    make("i", { "aria-hidden": true }),
    code,
    make("span", { class: "slug", text: finding?.slug }),
  );
  return made;
}

function ownerCard(row) {
  const chain = make("ol", { class: "chain" });
  const parts = chainOf(row.owner);
  if (parts.length > 60) parts.splice(30, parts.length - 60, "…");
  parts.forEach((part, at) =>
    chain.append(
      make("li", { class: at === parts.length - 1 ? "last" : null }, make("bdi", { text: part })),
    ),
  );
  return make(
    "section",
    { class: "card" },
    make("h2", { text: "Held at" }),
    chain,
    row.group.owner_type
      ? make("p", { class: "mono type" }, make("bdi", { text: row.group.owner_type }))
      : null,
  );
}

function remedyCard(row) {
  const codes = row.group.codes;
  // What fits the library first, then what the rule advises; a finding's remedy has both.
  const whole = remedyOf(row.lead);
  const first = remedyOf(row.group) || whole;
  const rest = whole.replace(first, "").trim();
  return make(
    "section",
    { class: "card remedy" },
    make("h2", { text: "What to do" }),
    make("p", {}, ...withCode(first)),
    rest ? make("p", { class: "quiet" }, ...withCode(rest)) : null,
    make(
      "details",
      { hidden: Boolean(data.worker) },
      make("summary", { text: codes.length === 1 ? "To ignore it" : "To ignore them" }),
      make("pre", {
        class: "snippet",
        tabindex: 0,
        text: `ignore=[${codes.map((one) => `"${one}"`).join(", ")}]`,
      }),
      make("p", {
        class: "quiet",
        text: "In the test's multi_loop marker; or in the ini option loopsafe_ignore.",
      }),
    ),
  );
}

/** A remedy's words, with what is between backticks as code. */
function withCode(text) {
  return text.split("`").map((part, at) => make(at % 2 ? "code" : "span", { lines: part }));
}

function notesOf(test) {
  if (!test.notes?.length) return null;
  return make(
    "section",
    { class: "card notes" },
    make("h2", { text: "Notes" }),
    ...test.notes.slice(0, 100).map((text) => make("p", { lines: text })),
  );
}

/** The findings, each a button that opens its stacks; one is open at a time. */
function fillFindings(row, found) {
  const bodies = new Map();
  let shown = 0;
  headsOfFindings = [];
  const more = make("button", {
    class: "plain more",
    type: "button",
    on: { click: () => addUntil(shown + FIRST) },
  });
  const add = (finding) => {
    const body = make("div", { class: "body", hidden: "" });
    const head = make(
      "button",
      {
        class: "seen",
        type: "button",
        "aria-expanded": "false",
        on: { click: () => toggle(finding) },
      },
      make(
        "span",
        { class: `code ${finding.severity}` },
        make("i", { "aria-hidden": true }),
        finding.code,
      ),
      make("span", { class: "unseen", text: finding.severity }),
      make(
        "span",
        { class: "say" },
        make("span", { class: "message", text: finding.message }),
        make("span", { class: "facts", text: factsOf(finding) }),
      ),
    );
    head.finding = finding;
    headsOfFindings.push(head);
    bodies.set(finding, { head, body, isFilled: false });
    more.before(make("div", { class: `finding ${finding.severity}` }, head, body));
  };
  const addUntil = (number) => {
    while (shown < Math.min(number, row.findings.length)) add(row.findings[shown++]);
    const left = row.findings.length - shown;
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(FIRST, left)} of ${left} more`;
  };
  const close = ({ head, body }) => {
    head.setAttribute("aria-expanded", "false");
    head.parentElement.classList.remove("open");
    body.hidden = true;
  };
  const toggle = (finding) => {
    const entry = bodies.get(finding);
    if (entry.head.getAttribute("aria-expanded") === "true") {
      close(entry);
      markPills();
    } else openFinding(finding, false);
  };
  openFinding = (finding, isFar) => {
    if (!bodies.has(finding)) addUntil(row.findings.indexOf(finding) + 1);
    for (const [other, entry] of bodies) if (other !== finding && !entry.body.hidden) close(entry);
    const entry = bodies.get(finding);
    if (!entry.isFilled) {
      entry.isFilled = true;
      entry.body.append(...bodyOf(finding));
    }
    entry.body.hidden = false;
    entry.head.setAttribute("aria-expanded", "true");
    entry.head.parentElement.classList.add("open");
    markPills();
    if (isFar) {
      entry.head.focus({ preventScroll: true });
      entry.head.scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
    }
  };
  found.append(more);
  addUntil(FIRST);
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** In the picture, what is open below. */
function markPills() {
  const open = headsOfFindings.find((one) => one.getAttribute("aria-expanded") === "true")?.finding;
  for (const pill of main.querySelectorAll(".pill")) {
    pill.classList.toggle("chosen", pill.ofFindings.includes(open));
  }
}

function factsOf(finding) {
  const facts = [];
  if (finding.swallowed) facts.push("swallowed");
  if (finding.count > 1) facts.push(`seen ${finding.count.toLocaleString("en")} times`);
  if (finding.passes.length) {
    facts.push(`in pass${finding.passes.length > 1 ? "es" : ""} ${inShort(finding.passes)}`);
  }
  if (finding.origin) {
    const { process, pid, task, invocation } = finding.origin;
    facts.push(
      `${process} ${pid}${task ? `, ${task}` : ""}${invocation ? `, call ${invocation}` : ""}`,
    );
  }
  return facts.join(" · ");
}

function inShort(numbers) {
  return numbers.length > 6
    ? `${numbers.slice(0, 5).join(", ")} and ${numbers.length - 5} more`
    : numbers.join(", ");
}

/** Both stacks side by side: where it happened, and where what it is about comes from. */
function bodyOf(finding) {
  const [first, ...others] = finding.stacks;
  const parts = [];
  if (first) {
    parts.push(
      make(
        "div",
        { class: others.length ? "stacks" : "stacks single" },
        make("div", {}, stackOf(first, others.length ? "Where it happened" : null, true)),
        others.length
          ? make(
              "div",
              {},
              ...others.map((stack, at) =>
                stackOf(stack, at === 0 ? "Where it comes from" : null, false),
              ),
            )
          : null,
      ),
    );
  } else parts.push(make("p", { class: "quiet", text: "Nobody saw where." }));
  if (finding.swallowed_at) {
    const hidden = finding.swallowed_likely ? "Probably swallowed here" : "Swallowed here";
    parts.push(
      make(
        "div",
        { class: "stack hid" },
        make("h3", { text: hidden }),
        make("ol", { class: "frames" }, frameOf(finding.swallowed_at)),
      ),
    );
  }
  for (const line of finding.logged) {
    const error = line.error ? `  (${line.error})` : "";
    parts.push(
      make(
        "p",
        { class: "logged" },
        make("b", { text: "Logged  " }),
        make("span", {
          class: "mono",
          lines: `${line.logger} ${line.level} ${line.message}${error}`,
        }),
      ),
    );
  }
  if (finding.made_by) parts.push(fact("Its loop was made by", finding.made_by));
  if (finding.used_by) parts.push(fact("It was used by", finding.used_by));
  if (finding.owner && finding.owner !== chosen?.owner) parts.push(fact("Held at", finding.owner));
  return parts;
}

function fact(name, text) {
  return make(
    "p",
    { class: "logged" },
    make("b", { text: `${name}  ` }),
    make("bdi", { class: "mono", text }),
  );
}

function stackOf(stack, over, isFirst) {
  const frames = framesOf(stack);
  const made = make("ol", { class: "frames" });
  const site = frames.findLast((one) => !one.library);
  for (let at = 0; at < frames.length;) {
    if (!frames[at].library) {
      made.append(frameOf(frames[at], isFirst && frames[at] === site));
      at += 1;
      continue;
    }
    const folded = [];
    while (at < frames.length && frames[at].library) folded.push(frames[at++]);
    const names = [...new Set(folded.map(packageOf))];
    const of = names.slice(0, 4).join(", ") + (names.length > 4 ? ", …" : "");
    made.append(
      make(
        "li",
        { class: "fold" },
        make(
          "details",
          {},
          make("summary", { text: `${count(folded.length, "frame")} of ${of}` }),
          make("ol", { class: "frames" }, ...folded.map((one) => frameOf(one))),
        ),
      ),
    );
  }
  return make(
    "section",
    { class: "stack" },
    over ? make("p", { class: "over", text: over }) : null,
    make("h3", { text: stack.title }),
    made,
  );
}

function frameOf(frame, isSite = false) {
  return make(
    "li",
    { class: `frame${isSite ? " site" : ""}` },
    make(
      "p",
      { class: "at", title: frame.file },
      make("bdi", { class: "function", text: frame.function }),
      make("bdi", { class: "file", text: `${fileOf(frame)}:${frame.line}` }),
    ),
    frame.code ? make("pre", { text: frame.code }) : null,
  );
}
