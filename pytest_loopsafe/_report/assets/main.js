// The overview, the keyboard, the theme, the way to paper.

const theme = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const counts = tally(
  rows.flatMap((one) =>
    one.findings.map((finding) => (one.kind === "known" ? "known" : finding.severity)),
  ),
);
const numbers = Object.fromEntries(counts);

function totals() {
  const parts = [];
  if (numbers.error) parts.push(count(numbers.error, "error"));
  if (numbers.warning) parts.push(count(numbers.warning, "warning"));
  if (numbers.known) parts.push(`${numbers.known.toLocaleString("en")} known`);
  return parts;
}

function watched() {
  const loops = report.tests.reduce((sum, one) => sum + (one.loops ?? 0), 0);
  if (data.worker) return `${data.worker.summary}, over ${count(loops, "loop")}`;
  const tests = new Set(report.tests.map((one) => one.nodeid)).size;
  return `${count(tests, "test")} watched over ${count(loops, "loop")}`;
}

function showSum() {
  const parts = totals();
  document
    .getElementById("sum")
    .replaceChildren(
      ...(parts.length ? parts : ["nothing found"]).map((text) =>
        make("span", { class: `stat ${text.split(" ").at(-1).replace(/s$/u, "")}`, text }),
      ),
      make("span", { class: "quiet wide", text: watched() }),
    );
}

/** Nothing is chosen: nothing was found, or is left by the filter, or the overview is wanted. */
function showEmpty() {
  redraw = () => {};
  openFinding = () => {};
  headsOfFindings = [];
  if (!rows.length) main.replaceChildren(cleanPage());
  else if (document.body.classList.contains("at-home")) main.replaceChildren(overview());
  else {
    main.replaceChildren(
      make(
        "div",
        { class: "calm" },
        make("h1", { text: "No finding is like that" }),
        make(
          "p",
          {},
          make("button", {
            class: "link",
            type: "button",
            text: "Show all of them",
            on: { click: clearFilter },
          }),
        ),
      ),
    );
  }
}

function cleanPage() {
  return make(
    "div",
    { class: "calm" },
    draw(
      "svg",
      { class: "bloom", viewBox: "0 0 96 96", width: 96, height: 96, "aria-hidden": true },
      draw("circle", { cx: 48, cy: 48, r: 44 }),
      draw("path", { d: "M30 49.5 42.5 62 67 35.5" }),
    ),
    make("h1", {
      text:
        report.tests.length || data.worker
          ? "Nothing is bound to the wrong loop"
          : "No test was watched",
    }),
    make("p", {
      class: "lead",
      text: report.tests.length
        ? `${watched()}. Nothing was found.`
        : "Mark one with @pytest.mark.multi_loop, or watch them all with --loopsafe.",
    }),
    auditCard(),
    notesCard(),
  );
}

function overview() {
  const tests = new Set(rows.filter((one) => one.kind !== "known").map((one) => one.where)).size;
  const noun = data.worker ? "task" : "test";
  const rules = tally(rows.flatMap((one) => one.findings.map((finding) => finding.code)));
  const owners = tally(rows.flatMap((one) => (one.owner ? one.findings.map(() => one.owner) : [])));
  return make(
    "article",
    { class: "group" },
    backButton(),
    make("p", { class: "crumb", text: "Overview" }),
    make("h1", { text: `${totals().join(", ")} in ${count(tests, noun)}` }),
    make("p", { class: "quiet", text: `${watched()}.` }),
    make(
      "div",
      { class: "pair" },
      bars("By rule", rules, (code) => `${code} ${slugs.get(code)}`, "rule"),
      owners.length ? bars("By owner", owners, (one) => cutStart(one, 48), "owner") : null,
    ),
    auditCard(),
    notesCard(),
  );
}

const BARS = 20; // of what is met most

function bars(title, values, nameOf, id) {
  const most = values[0]?.[1] ?? 1;
  return make(
    "section",
    { class: "card" },
    make("h2", { text: title }),
    make(
      "ol",
      { class: "bars" },
      ...values.slice(0, BARS).map(([value, number]) => {
        const bar = make("i", { "aria-hidden": true });
        bar.style.width = `${Math.max(1, (100 * number) / most)}%`;
        return make(
          "li",
          {},
          make(
            "button",
            {
              type: "button",
              class: "bar",
              on: {
                click: () => {
                  filterBy(id, value);
                  document.body.dataset.view = "list";
                },
              },
            },
            make("bdi", { text: nameOf(value) }),
            make("b", { text: number.toLocaleString("en") }),
            bar,
          ),
        );
      }),
    ),
    values.length > BARS
      ? make("p", { class: "quiet", text: `and ${values.length - BARS} more` })
      : null,
  );
}

function auditCard() {
  const audit = report.audit;
  if (!audit) return null;
  const over =
    audit.loops > 1 ? `, ${audit.over_loops} of them over ${count(audit.loops, "loop")}` : "";
  return make(
    "section",
    { class: "card" },
    make("h2", { text: "The audit" }),
    make("p", { text: `${count(audit.watched, "test")} watched${over}.` }),
    audit.not_over_loops.length
      ? make(
          "ul",
          { class: "reasons" },
          ...audit.not_over_loops.map((one) =>
            make(
              "li",
              {},
              `${count(one.tests, "test")} not: `,
              make("bdi", { text: one.reason }),
              make("span", { class: "quiet", text: `, such as ${one.example}` }),
            ),
          ),
        )
      : null,
  );
}

function notesCard() {
  const notes = tally(report.tests.flatMap((one) => one.notes ?? []));
  if (!notes.length) return null;
  return make(
    "section",
    { class: "card notes" },
    make("h2", { text: "Notes" }),
    ...notes
      .slice(0, 100)
      .map(([text, number]) =>
        make("p", { lines: number > 1 ? `${text} (${number} times)` : text }),
      ),
  );
}

function goHome() {
  document.body.classList.add("at-home");
  document.body.dataset.view = "group";
  chosen = null;
  showRows();
  showEmpty();
  main.focus();
}

function openGroup() {
  if (chosen !== null) document.body.dataset.view = "group";
}

function backButton() {
  return make("button", {
    class: "back plain",
    type: "button",
    text: "‹ All findings",
    on: { click: backToList },
  });
}

function backToList() {
  document.body.dataset.view = "list";
  showRows();
  list.focus({ preventScroll: true });
}

// -- the keyboard: in the list it moves between groups, in a group between its findings ----------

function inGroup() {
  return main.contains(document.activeElement);
}

function moveFinding(by) {
  const at = headsOfFindings.indexOf(document.activeElement);
  const next =
    headsOfFindings[at < 0 ? 0 : Math.min(headsOfFindings.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function heard(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  const isTyping = target === words || target.tagName === "SELECT";
  const by = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
  const isArrow = event.key.startsWith("Arrow");
  let isDone = true;
  if (event.key === "Escape") escape(target);
  else if (target === words && (event.key === "ArrowDown" || event.key === "Enter")) backToList();
  else if (isTyping) isDone = false;
  else if (event.key === "/") {
    document.body.dataset.view = "list";
    words.focus();
    words.select();
  } else if (by && inGroup() && (!isArrow || headsOfFindings.includes(target))) moveFinding(by);
  else if (by && (!isArrow || !inGroup())) move(by);
  else if (target === list && ["Home", "End", "PageDown", "PageUp"].includes(event.key)) {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    move({ Home: -rows.length, End: rows.length, PageDown: page, PageUp: -page }[event.key]);
  } else if (event.key === "Enter" && (target === list || target === document.body)) {
    openGroup();
    redraw();
    main.focus();
  } else isDone = false;
  if (isDone) event.preventDefault();
}

function escape(target) {
  if (target === words && words.value) {
    words.value = "";
    applyFilter();
  } else if (inGroup() || target === words || target.tagName === "SELECT") backToList();
  else if (!document.getElementById("clear").hidden) clearFilter();
}

// -- dark and light ----------------------------------------------------------------------------

function remembered(value) {
  try {
    if (value) localStorage.setItem("loopsafe-theme", value);
    return localStorage.getItem("loopsafe-theme");
  } catch {
    return null; // a file of its own origin may not have any
  }
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
}

function showTheme() {
  const other = isDark() ? "Light" : "Dark";
  theme.querySelector("span").textContent = other;
  theme.setAttribute("aria-label", `${other} colours`);
}

theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remembered(document.documentElement.dataset.theme);
  showTheme();
});
dark.addEventListener("change", showTheme);

// -- paper: the groups that are listed, then the one that is shown -----------------------------

const ON_PAPER = 500;

function toPaper() {
  const paper = document.getElementById("paper");
  paper.replaceChildren(
    make("h1", { text: `loopsafe: ${totals().join(", ") || "nothing found"}` }),
    make("p", { text: `${watched()}.` }),
    make(
      "ol",
      {},
      ...listed
        .slice(0, ON_PAPER)
        .map((row) =>
          make(
            "li",
            {},
            make("b", { text: row.group.headline }),
            make("p", { text: `${row.kind}  ${row.group.codes.join(" ")}  ${row.where}` }),
            make("p", { lines: remedyOf(row.group) }),
          ),
        ),
    ),
    listed.length > ON_PAPER ? make("p", { text: `and ${listed.length - ON_PAPER} more` }) : "",
  );
}

window.addEventListener("beforeprint", toPaper);
window.addEventListener("afterprint", () => document.getElementById("paper").replaceChildren());
window.addEventListener(
  "resize",
  soon(() => {
    showRows();
    redraw();
  }),
);
document.addEventListener("keydown", heard);
document.getElementById("home").addEventListener("click", () => (rows.length ? goHome() : null));

const saved = remembered();
if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
document.body.classList.toggle("nothing", rows.length === 0);
showTheme();
showSum();
fillSelects();
tellShown(false);
choose(rows[0] ?? null);
list.focus({ preventScroll: true });
