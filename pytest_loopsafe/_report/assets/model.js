// The data: a row for each group of findings. The document is that of --loopsafe-json, in which
// frames and remedies, which are much the same, are replaced by their places in two tables.

const data = JSON.parse(document.getElementById("data").textContent);
const report = data.report;
const PLACES = [/(?:site|dist)-packages[\\/]/iu, /[\\/]lib[\\/]python3\.\d+t?[\\/]/iu];
const RANK = { error: 0, warning: 1, known: 2 };

/** What the list has: errors first, then in the order of the tests. */
const rows = makeRows();
const slugs = new Map();
for (const row of rows) for (const one of row.findings) slugs.set(one.code, one.slug);
const root = commonFolder();

function makeRows() {
  const made = [];
  for (const test of report.tests) {
    for (const group of test.groups ?? []) {
      const findings = group.findings.map((at) => test.findings[at]);
      made.push(row(test, group, findings, group.severity));
    }
    for (const findings of byGroup(test.known ?? [])) {
      made.push(row(test, groupOfKnown(findings), findings, "known"));
    }
  }
  made.sort((one, other) => RANK[one.kind] - RANK[other.kind]);
  made.forEach((one, at) => {
    one.at = at;
  });
  return made;
}

function row(test, group, findings, kind) {
  const lead = findings[Math.max(0, group.findings.indexOf(group.lead))];
  const task = findings.find((one) => one.origin?.task)?.origin.task ?? null;
  const where = data.worker ? (task ?? findings[0].origin?.process ?? "a worker") : test.nodeid;
  return { test, group, findings, kind, lead, task, where, owner: group.owner, text: null, at: 0 };
}

/** What is known has no groups of its own in the document. */
function byGroup(findings) {
  const groups = new Map();
  for (const one of findings) {
    const key = `${one.run ?? 1} ${one.group}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  return groups.values();
}

function groupOfKnown(findings) {
  const lead = findings.find((one) => one.severity === "error") ?? findings[0];
  const owner = findings.find((one) => one.owner)?.owner ?? null;
  return {
    headline: owner && !lead.message.includes(owner) ? `${owner}: ${lead.message}` : lead.message,
    owner,
    owner_type: lead.owner_type,
    codes: [...new Set([lead.code, ...findings.map((one) => one.code)])],
    remedy: lead.remedy,
    run: lead.run,
    findings: findings.map((_, at) => at),
    lead: findings.indexOf(lead),
  };
}

function framesOf(stack) {
  return stack.frames.map((at) => data.frames[at]);
}

/** The remedy of a finding or a group. */
function remedyOf(one) {
  return data.texts[one.remedy] ?? "";
}

/** All that the filter looks into, made when it is first asked for. */
function textOf(one) {
  if (one.text === null) {
    const parts = [one.group.headline, one.where, one.owner, one.test.nodeid, one.kind];
    for (const finding of one.findings) {
      parts.push(finding.code, finding.slug, finding.message, finding.owner);
      for (const stack of finding.stacks) {
        for (const frame of framesOf(stack)) {
          if (!frame.library) parts.push(frame.file, frame.function);
        }
      }
    }
    one.text = [...new Set(parts)].join("\n").toLowerCase();
  }
  return one.text;
}

function matching({ words, kind, rule, test, owner }) {
  const wanted = words.toLowerCase().split(/\s+/u).filter(Boolean);
  return rows.filter(
    (one) =>
      (!kind || one.kind === kind) &&
      (!rule || one.group.codes.includes(rule)) &&
      (!test || one.where === test) &&
      (!owner || (one.owner ?? "") === owner) &&
      wanted.every((word) => textOf(one).includes(word)),
  );
}

/** How often each value is met, the most frequent first. */
function tally(values) {
  const met = new Map();
  for (const one of values) met.set(one, (met.get(one) ?? 0) + 1);
  return [...met].sort((one, other) => other[1] - one[1]);
}

/** The folder that all of the user's files are in: it is not worth showing each time. */
function commonFolder() {
  let common = null;
  for (const frame of data.frames) {
    if (frame.library || !/^(\/|[A-Za-z]:[\\/])/u.test(frame.file)) continue;
    const folders = frame.file.split(/[\\/]/u).slice(0, -1);
    if (common === null) common = folders;
    let same = 0;
    while (same < common.length && common[same] === folders[same]) same += 1;
    common = common.slice(0, same);
  }
  return common === null || common.length < 2 ? null : common.length;
}

function fileOf(frame) {
  const parts = frame.file.split(/[\\/]/u);
  const library = PLACES.map((one) => one.exec(frame.file)).find(Boolean);
  if (frame.library && library) return frame.file.slice(library.index + library[0].length);
  return root !== null && !frame.library && parts.length > root
    ? parts.slice(root).join("/")
    : frame.file;
}

function packageOf(frame) {
  const file = fileOf(frame);
  if (/^([\\/<]|[A-Za-z]:)/u.test(file)) return file.split(/[\\/]/u).at(-1);
  return file.split(/[\\/]/u)[0].replace(/\.py$/u, "");
}

/** `app.cache['k'].pool` as `app`, `cache`, `['k']`, `pool`. */
function chainOf(owner) {
  const parts = [];
  let part = "";
  let depth = 0;
  let quote = null;
  const cut = () => {
    if (part) parts.push(part);
    part = "";
  };
  for (let at = 0; at < owner.length; at += 1) {
    const one = owner[at];
    if (quote !== null) {
      part += one;
      if (one === "\\") part += owner[(at += 1)] ?? "";
      else if (one === quote) quote = null;
      continue;
    }
    if (depth === 0 && one === ".") {
      cut();
      continue;
    }
    if (depth === 0 && one === "[") cut();
    if (one === "'" || one === '"') quote = one;
    if ("[({".includes(one)) depth += 1;
    if ("])}".includes(one)) depth = Math.max(0, depth - 1);
    part += one;
    if (depth === 0 && one === "]") cut();
  }
  cut();
  return parts;
}
