// Where all of a group's picture goes, as plain numbers. Each loop has a lane; time runs in
// columns, one a pass. Each of one thread's loops in a pass has a slot; another thread has its own.
//
// What is known is the order in which loops were made, and whether each was closed: no clock was
// read. So lengths say nothing, and only what comes after what, and what stays open, is drawn.

const LANES = 40; // in one picture; a test may have made thousands
const GUTTERS = [
  [760, 208],
  [480, 150],
  [0, 104],
]; // of a width: how much is for lanes' names
const HEAD = 30;
const PILL = 48;
const GAP = 4;
const MOST_PILLS = 3; // on one lane; more are counted in one
const ALIVE = ["running", "paused"]; // states of a home
const NOWHERE = "nowhere";

/** The lanes, columns, ribbons and arrows of a group, for a width in pixels. */
function layoutOf(row, width) {
  const [, gutter] = GUTTERS.find(([least]) => width >= least);
  const run = row.group.run ?? 1;
  const all = (row.test.lanes ?? []).filter((one) => (one.run ?? 1) === run);
  const parts = partsOf(row, all);
  const lanes = lanesShown(all, parts, row);
  const atOnce = areAtOnce(parts);
  for (const { from, findings } of parts) {
    // Of a worker's loops the report does not know it; a finding does.
    const isSeen = findings.some((one) => one.home_state === "closed");
    if (from?.closed === null && isSeen) from.closed = true;
  }
  const columns = columnsOf(lanes, parts, width, gutter, atOnce);
  const processes = new Set(lanes.map((one) => one.pid).filter((one) => one !== null));
  const height = placeRows(lanes, parts, processes.size > 1);
  const right = columns.length ? columns.at(-1).x + columns.at(-1).width : gutter + 80;
  placeBars(lanes, columns, gutter, right);
  placePills(parts, atOnce);
  stretchBars(parts, atOnce);
  return {
    lanes,
    columns,
    parts,
    height,
    right,
    processes,
    atOnce,
    gutter,
    width: Math.max(right, ...parts.map((one) => one.x + PILL)) + 14,
    ribbons: ribbonsOf(parts),
    hidden: all.length - lanes.filter((one) => !one.isMade).length,
  };
}

/** Who uses what where: one entry for each pair of lanes, with its findings. */
function partsOf(row, all) {
  const made = new Map();
  const laneOf = (number, finding) => {
    const same = all.filter((one) => one.loop === number);
    const pid = finding.origin?.pid;
    const found =
      same.find((one) => one.pid === pid) ?? same.find((one) => !one.inherited) ?? same[0];
    if (found) return found;
    const key = `loop ${number}`;
    if (!made.has(key)) {
      made.set(key, {
        ...emptyLane(key),
        loop: number,
        pid: pid ?? null,
        pass: finding.passes[0] ?? 1,
      });
      if (number < 1) made.get(key).name = "an earlier loop";
    }
    return made.get(key);
  };
  const outside = () => {
    if (!made.has(NOWHERE)) made.set(NOWHERE, { ...emptyLane("outside of any loop"), loop: null });
    return made.get(NOWHERE);
  };
  const pairs = new Map();
  for (const finding of row.findings) {
    const home = finding.home_loop === null ? null : laneOf(finding.home_loop, finding);
    const numbers = finding.loops.length ? finding.loops : [finding.loop];
    const used = [
      ...new Set(numbers.map((one) => (one === null ? outside() : laneOf(one, finding)))),
    ];
    const others = used.filter((one) => one !== home);
    for (const lane of others.length ? others : used) {
      const from = home === lane ? null : home;
      const key = `${idOf(from)} ${idOf(lane)} ${finding.code}`;
      if (!pairs.has(key)) pairs.set(key, { from, to: lane, findings: [] });
      if (!pairs.get(key).findings.includes(finding)) pairs.get(key).findings.push(finding);
    }
  }
  return crowded([...pairs.values()]);
}

function idOf(lane) {
  return lane === null ? "-" : `${lane.pid}/${lane.loop}`;
}

function emptyLane(name) {
  return {
    name,
    isMade: true,
    kind: "",
    thread: null,
    pid: null,
    pass: 1,
    closed: null,
    inherited: false,
    made_by: null,
    made_at: null,
  };
}

/** Where a lane has too many, those from one home are one. */
function crowded(pairs) {
  const result = [];
  for (const lane of new Set(pairs.map((one) => one.to))) {
    const here = pairs.filter((one) => one.to === lane);
    if (here.length <= MOST_PILLS) {
      result.push(...here);
      continue;
    }
    for (const home of new Set(here.map((one) => one.from))) {
      const findings = here.filter((one) => one.from === home).flatMap((one) => one.findings);
      result.push({ from: home, to: lane, findings: [...new Set(findings)] });
    }
  }
  return result;
}

/** The lanes that have a part, then others, as many as there is room for; grouped by process. */
function lanesShown(all, parts, row) {
  const concerned = [...new Set(parts.flatMap((one) => [one.from, one.to]).filter(Boolean))];
  const kept = concerned.slice(0, LANES);
  for (const one of all) if (kept.length < LANES && !kept.includes(one)) kept.push(one);
  for (let at = parts.length - 1; at >= 0; at -= 1) {
    if (!kept.includes(parts[at].to) || (parts[at].from && !kept.includes(parts[at].from))) {
      parts.splice(at, 1);
    }
  }
  const turn = new Map();
  for (const one of [...all, ...kept]) if (!turn.has(one.pid)) turn.set(one.pid, turn.size);
  kept.sort(
    (one, other) =>
      (one.loop === null) - (other.loop === null) ||
      turn.get(one.pid) - turn.get(other.pid) ||
      (one.loop ?? 0) - (other.loop ?? 0),
  );
  return kept.map((lane) => place(lane, row, parts));
}

/** A lane's entry in the picture; the parts know it from now on. */
function place(lane, row, parts) {
  const made = lane.made_by;
  const isEarlier =
    lane.loop !== null &&
    (lane.loop < 1 ||
      lane.inherited ||
      (made !== null && !data.worker && !made.startsWith(row.test.nodeid)));
  const entry = { ...lane, isEarlier, hasRibbon: false, x: 0, end: 0, y: 0 };
  for (const part of parts) {
    if (part.to === lane) part.to = entry;
    if (part.from === lane) part.from = entry;
  }
  return entry;
}

/** One column for what was there before, and one for each pass in which a shown loop was made. */
function columnsOf(lanes, parts, width, gutter, atOnce) {
  const tracks = new Map(); // of each column and thread: its loops
  for (const lane of lanes) {
    if (lane.loop === null) continue;
    lane.column = lane.isEarlier ? 0 : atOnce ? 1 : lane.pass;
    const pills = parts.filter((one) => one.to === lane).length;
    lane.need = 20 + (PILL + GAP) * Math.max(1, pills);
    const track = `${lane.column} ${lane.pid} ${lane.thread}`;
    if (!tracks.has(track)) tracks.set(track, []);
    tracks.get(track).push(lane);
  }
  const columns = new Map();
  for (const track of tracks.values()) {
    const number = track[0].column;
    const column = columns.get(number) ?? { number, slots: 0, need: 0, tracks: [] };
    column.slots = Math.max(column.slots, track.length);
    const inAll = atOnce ? 20 + (PILL + GAP) * parts.length : 0;
    column.need = Math.max(column.need, needOf(track), inAll);
    column.tracks.push(track);
    columns.set(number, column);
  }
  const sorted = [...columns.values()].sort((one, other) => one.number - other.number);
  const slots = sorted.reduce((sum, one) => sum + one.slots, 0);
  const spare = Math.max(0, width - gutter - 14 - needOf(sorted));
  let x = gutter;
  for (const column of sorted) {
    Object.assign(column, { x, width: column.need + (spare * column.slots) / slots });
    x += column.width;
  }
  return sorted;
}

/** Whether passes ran beside each other: what a later one made was used in an earlier one. */
function areAtOnce(parts) {
  return parts.some(
    ({ from, to }) =>
      from && to.loop !== null && !from.isEarlier && from.pid === to.pid && from.pass > to.pass,
  );
}

function needOf(them) {
  return them.reduce((sum, one) => sum + one.need, 0);
}

function placeRows(lanes, parts, byProcess) {
  for (const part of parts) if (part.from) part.from.hasRibbon = true;
  let y = HEAD;
  let before = null;
  for (const lane of lanes) {
    if (byProcess && lane.loop !== null && lane.pid !== before) {
      lane.title = lane.pid === null ? "another process" : `process ${lane.pid}`;
      before = lane.pid;
      y += 22;
    }
    lane.y = y;
    y += lane.hasRibbon ? 66 : 42;
  }
  return y + 6;
}

function placeBars(lanes, columns, gutter, right) {
  for (const column of columns) {
    for (const track of column.tracks) {
      const spare = (column.width - needOf(track)) / track.length;
      let x = column.x;
      for (const lane of track) {
        lane.x = x + 5;
        x += lane.need + spare;
        lane.end = lane.slotEnd = x - 5;
      }
    }
  }
  for (const lane of lanes) {
    if (lane.loop === null) {
      Object.assign(lane, { x: gutter + 5, slotEnd: right - 5, end: right - 5 });
    } else if (lane.closed === false) lane.end = right;
  }
}

/** Each pill on its lane, from left to right; where all runs at once, none below another. */
function placePills(parts, atOnce) {
  const next = new Map();
  if (atOnce) parts.sort((one, other) => one.to.x - other.to.x);
  for (const part of parts) {
    const lane = part.to;
    const key = atOnce ? null : lane;
    const start = (lane.loop === null && part.from ? outsideOf(part) : lane.x) + 10;
    const last = atOnce ? start : lane.slotEnd - PILL - GAP;
    part.x = Math.max(next.get(key) ?? 0, Math.min(start, last));
    next.set(key, part.x + PILL + GAP);
    lane.end = Math.max(lane.end, part.x + PILL + GAP);
  }
}

/** Outside of any loop there is no before and after: but its home had ended by then, or had not. */
function outsideOf({ from, findings }) {
  const isOver = !ALIVE.includes(findings[0].home_state);
  return isOver && from.closed !== false ? from.slotEnd : from.x + 16;
}

/** A loop that was seen alive at a use was there by then, whichever pass had made it. */
function stretchBars(parts, atOnce) {
  for (const { from, x, findings } of parts) {
    if (from === null) continue;
    if (findings.some((one) => ALIVE.includes(one.home_state))) {
      from.x = Math.min(from.x, x - 4);
      from.end = Math.max(from.end, x + PILL + 4);
    } else if (atOnce && findings.every((one) => one.home_state === "closed")) {
      from.end = Math.max(from.x + GAP * 8, Math.min(from.end, x));
    }
  }
}

/** What a loop's objects are seen of: from that loop to the last place of use. */
function ribbonsOf(parts) {
  const ribbons = new Map();
  for (const part of parts) {
    if (part.from === null) continue;
    const one = ribbons.get(part.from) ?? { lane: part.from, x: part.from.x + 8, end: 0 };
    one.x = Math.min(one.x, part.x + PILL / 2);
    one.end = Math.max(one.end, part.x + PILL / 2, part.from.x + 26);
    ribbons.set(part.from, one);
  }
  for (const one of ribbons.values()) {
    const crossing = parts.filter(
      ({ from, to }) =>
        from && Math.min(from.y, to.y) <= one.lane.y && one.lane.y < Math.max(from.y, to.y),
    );
    const places = crossing.map((part) => part.x + PILL / 2).filter((x) => x > one.x + 20);
    one.free = Math.min(...places, one.x + 600);
  }
  return [...ribbons.values()];
}
