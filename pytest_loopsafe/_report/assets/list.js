// The list of groups. Only the rows that are seen are in the document: ten thousand cost as much as
// ten.

const ROW = 78; // pixels, as in the style
const BESIDE = 6; // rows that are ready above and below
const OPTIONS = 500; // of a select: it is no place to look for one of thousands

const list = document.getElementById("list");
const words = document.getElementById("words");
const selects = ["kind", "rule", "test", "owner"].map((id) => document.getElementById(id));
let listed = rows; // those that match the filter
let chosen = null; // the row that is shown

const room = make("div", { class: "room", role: "presentation" });
list.append(room);

const showRows = soon(() => {
  room.style.height = `${listed.length * ROW}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - BESIDE);
  const last = Math.min(
    listed.length,
    Math.ceil((list.scrollTop + list.clientHeight) / ROW) + BESIDE,
  );
  const kept = [];
  for (let at = first; at < last; at += 1) kept.push(option(listed[at], at));
  room.replaceChildren(...kept);
  list.setAttribute("aria-activedescendant", chosen !== null ? `row-${chosen.at}` : "");
});

function option(row, at) {
  const made = make(
    "div",
    {
      id: `row-${row.at}`,
      class: `row ${row.kind}`,
      role: "option",
      "aria-selected": String(row === chosen),
      "aria-setsize": listed.length,
      "aria-posinset": at + 1,
      title: row.group.headline.slice(0, 300),
      on: {
        click: () => {
          choose(row);
          openGroup();
        },
      },
    },
    make("span", { class: "head", text: row.group.headline.slice(0, 300) }),
    make(
      "span",
      { class: "tail" },
      ...codesOf(row.group.codes, row.kind, 3),
      make("bdi", { class: "where", title: row.where, text: shortOf(row.where) }),
    ),
  );
  made.style.transform = `translateY(${at * ROW}px)`;
  return made;
}

/** `tests/test_app.py::TestIt::test_a` as `TestIt::test_a`. */
function shortOf(where) {
  const at = where.indexOf("::");
  return cutStart(at < 0 ? where : where.slice(at + 2), 60);
}

/** The codes as pills; what a colour says is said in words too. */
function codesOf(codes, kind, most = codes.length) {
  const pills = codes
    .slice(0, most)
    .map((code) =>
      make(
        "span",
        { class: `code ${kind}`, title: slugs.get(code) },
        make("i", { "aria-hidden": true }),
        code,
      ),
    );
  if (codes.length > most)
    pills.push(make("span", { class: "more", text: `+${codes.length - most}` }));
  pills.unshift(make("span", { class: "unseen", text: kind }));
  return pills;
}

function choose(row) {
  chosen = row;
  document.body.classList.remove("at-home");
  if (row !== null) {
    const top = listed.indexOf(row) * ROW;
    if (top >= 0 && top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight)
      list.scrollTop = top + ROW - list.clientHeight;
  }
  showRows();
  showChosen();
}

function move(by) {
  if (!listed.length) return;
  const at = listed.indexOf(chosen);
  choose(listed[at < 0 ? 0 : Math.min(listed.length - 1, Math.max(0, at + by))]);
}

function wanted() {
  const [kind, rule, test, owner] = selects.map((one) => one.value);
  return { words: words.value, kind, rule, test, owner };
}

const applyFilter = soon(() => {
  const filter = wanted();
  const isFiltered = Object.values(filter).some(Boolean);
  listed = isFiltered ? matching(filter) : rows;
  list.scrollTop = 0;
  document.getElementById("clear").hidden = !isFiltered;
  tellShown(isFiltered);
  if (!listed.includes(chosen) && !document.body.classList.contains("at-home")) {
    choose(listed[0] ?? null);
  } else showRows();
});

function tellShown(isFiltered) {
  const findings = listed.reduce((sum, one) => sum + one.findings.length, 0);
  const text = `${count(findings, "finding")} in ${count(listed.length, "group")}`;
  document.getElementById("shown").textContent = isFiltered
    ? `${text}, of ${rows.length.toLocaleString("en")}`
    : text;
}

function clearFilter() {
  words.value = "";
  for (const one of selects) one.value = "";
  applyFilter();
}

/** Filter by one thing alone, as the overview's links do. */
function filterBy(id, value) {
  words.value = "";
  for (const one of selects) one.value = one.id === id ? value : "";
  document.body.classList.remove("at-home");
  chosen = null;
  applyFilter();
}

function fillSelects() {
  const lists = {
    kind: ["All severities", tally(rows.map((one) => one.kind))],
    rule: ["All rules", tally(rows.flatMap((one) => one.group.codes)).sort()],
    test: [data.worker ? "All tasks" : "All tests", tally(rows.map((one) => one.where))],
    owner: ["All owners", tally(rows.map((one) => one.owner).filter(Boolean))],
  };
  for (const select of selects) {
    const [all, values] = lists[select.id];
    select.replaceChildren(make("option", { value: "", text: all }));
    for (const [value, number] of values.slice(0, OPTIONS)) {
      const name = select.id === "rule" ? `${value} ${slugs.get(value)}` : cutStart(value, 70);
      // As a property: in an attribute a lone half of a pair would not come back as it went in.
      const one = make("option", { text: `${name}  (${number})` });
      one.value = value;
      select.append(one);
    }
    if (values.length > OPTIONS) {
      select.append(
        make("option", { disabled: "", text: `and ${values.length - OPTIONS} more: type above` }),
      );
    }
    select.addEventListener("change", applyFilter);
  }
  words.addEventListener("input", applyFilter);
  document.getElementById("clear").addEventListener("click", clearFilter);
  list.addEventListener("scroll", showRows, { passive: true });
}
