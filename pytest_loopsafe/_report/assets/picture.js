// The picture of one group.

const BAR = 20; // the height of a loop's life

/** The picture's element. `open` is called with a finding whose arrow or mark is chosen. */
function pictureOf(row, width, open) {
  const plan = layoutOf(row, width);
  const picture = draw("svg", {
    class: "picture",
    width: plan.width,
    height: plan.height,
    viewBox: `0 0 ${plan.width} ${plan.height}`,
    role: "group",
    "aria-label": `Loops and uses: ${row.group.headline}`,
  });
  picture.append(hatch());
  drawColumns(picture, plan);
  for (const lane of plan.lanes) drawLane(picture, lane, plan);
  for (const ribbon of plan.ribbons) drawRibbon(picture, ribbon, row);
  for (const part of plan.parts) if (part.from) picture.append(arrowOf(part, open));
  for (const part of plan.parts) picture.append(pillOf(part, open));
  const notes = [];
  if (plan.hidden > 0) {
    notes.push(
      `${count(plan.hidden, "more loop")} of this test ${
        plan.hidden === 1 ? "has" : "have"
      } no place here.`,
    );
  }
  return { picture, notes };
}

function hatch() {
  return draw(
    "defs",
    {},
    draw(
      "pattern",
      {
        id: "hatch",
        width: 6,
        height: 6,
        patternUnits: "userSpaceOnUse",
        patternTransform: "rotate(45)",
      },
      draw("rect", { class: "hatch-back", width: 6, height: 6 }),
      draw("rect", { class: "hatch-line", width: 2.5, height: 6 }),
    ),
  );
}

function drawColumns(picture, plan) {
  plan.columns.forEach((column, at) => {
    if (at % 2 === 1) {
      picture.append(
        draw("rect", {
          class: "column",
          x: column.x,
          y: 0,
          width: column.width,
          height: plan.height,
          rx: 6,
        }),
      );
    }
    const pass = plan.atOnce ? "passes at once" : `pass ${column.number}`;
    const name = column.number === 0 ? "before" : pass;
    picture.append(draw("text", { class: "axis", x: column.x + 8, y: 19, text: name }));
  });
  const [pid] = plan.processes;
  if (plan.processes.size === 1) {
    picture.append(draw("text", { class: "axis", x: 4, y: 19, text: `process ${pid}` }));
  }
}

function drawLane(picture, lane, plan) {
  const threads = new Set(plan.lanes.map((one) => one.thread));
  const middle = lane.y + 10 + BAR / 2;
  const group = draw(
    "g",
    { class: `lane${lane.loop === null ? " nowhere" : ""}` },
    draw("title", { lines: wordsOf(lane) }),
  );
  if (lane.title) {
    picture.append(
      draw("text", { class: "axis", x: 4, y: lane.y - 5, text: lane.title }),
      draw("line", { class: "rule", x1: 110, x2: plan.right, y1: lane.y - 9, y2: lane.y - 9 }),
    );
  }
  const isEarlier = lane.loop !== null && lane.loop < 1 && !lane.inherited;
  const name = isEarlier ? "an earlier loop" : lane.name;
  const state = { true: "closed", false: "left open" }[lane.closed] ?? "";
  const label = draw("text", { class: "name", x: 4, y: lane.y + 18 });
  label.append(draw("tspan", { text: cutEnd(name, Math.floor((plan.gutter - 8) / 7.4)) }));
  if (state && name.length < plan.gutter / 12) {
    label.append(
      draw("tspan", { class: `state ${lane.closed ? "" : "open"}`, dx: 7, text: state }),
    );
  }
  const site = lane.made_at;
  const more = [
    threads.size > 1 && lane.thread && plan.gutter > 150 ? cutEnd(lane.thread, 16) : null,
    lane.made_by && lane.isEarlier ? lane.made_by.split("::").at(-1) : null,
    site ? `${fileOf(site).split("/").at(-1)}:${site.line}` : null,
  ]
    .filter(Boolean)
    .join(" · ");
  group.append(
    label,
    draw("text", {
      class: "small",
      x: 4,
      y: lane.y + 33,
      text: cutEnd(more, Math.floor((plan.gutter - 8) / 6.4)),
    }),
  );
  const isOpen = lane.closed === false;
  const bar = barOf(lane.x, lane.end, middle, isOpen);
  group.append(draw("path", { class: `life${lane.closed === null ? " unknown" : ""}`, d: bar }));
  if (isOpen) {
    group.append(
      draw("path", { class: "open-end", d: `M${lane.end} ${middle - BAR / 2 + 1}v${BAR - 2}` }),
      draw("path", { class: "goes-on", d: `M${lane.end - 1} ${middle - 5}l5 5l-5 5` }),
    );
  }
  picture.append(group);
}

/** A bar that is round where it begins and where it ends; what is open has no such end. */
function barOf(x, end, middle, isOpen) {
  const r = 5;
  const top = middle - BAR / 2;
  const bottom = middle + BAR / 2;
  const corners = `Q${end} ${top} ${end} ${top + r}V${bottom - r}Q${end} ${bottom}`;
  const right = isOpen ? `H${end}V${bottom}` : `H${end - r}${corners} ${end - r} ${bottom}`;
  return (
    `M${x} ${middle}V${top + r}Q${x} ${top} ${x + r} ${top}${right}` +
    `H${x + r}Q${x} ${bottom} ${x} ${bottom - r}Z`
  );
}

function wordsOf(lane) {
  if (lane.loop === null) return "Sync code, in which no loop ran";
  return [
    lane.name,
    lane.kind,
    lane.thread ? `in thread ${lane.thread}` : null,
    lane.pid === null ? null : `of process ${lane.pid}`,
    { true: "closed", false: "left open" }[lane.closed] ?? null,
    lane.made_at
      ? `made at ${fileOf(lane.made_at)}:${lane.made_at.line} in ${lane.made_at.function}`
      : null,
    lane.made_by ? `made by ${lane.made_by}` : null,
  ]
    .filter(Boolean)
    .join("\n");
}

/** The resource: from the loop that it is bound to, on beyond that loop's end. */
function drawRibbon(picture, { lane, x, end, free }, row) {
  const y = lane.y + 38;
  const life = Math.min(end, Math.max(x, lane.end));
  const owner = row.owner ?? row.group.owner_type ?? "";
  const name = draw("text", {
    class: "small held",
    x: x + 2,
    y: y + 20,
    text: endOf(owner, Math.max(9, Math.floor((free - x - 10) / 6.7))),
  });
  picture.append(
    draw(
      "g",
      { class: "ribbon" },
      draw("title", { lines: `${owner || "It is"}\nbound to ${lane.name}` }),
      draw("rect", { class: "bound", x, y, width: Math.max(6, life - x), height: 7, rx: 3.5 }),
      end > life
        ? draw("rect", { class: "outlives", x: life, y, width: end - life, height: 7, rx: 1 })
        : null,
      draw("circle", { class: "knot", cx: lane.x + 11.5, cy: y + 3.5, r: 5 }),
      name,
    ),
  );
}

/** As many whole parts of an owner's path as there is room for: `…notifier.client`. */
function endOf(owner, most) {
  if (owner.length <= most) return owner;
  const parts = chainOf(owner.slice(-MOST));
  let end = parts.pop() ?? "";
  while (parts.length && end.length + parts.at(-1).length + 2 <= most) {
    end = `${parts.pop()}${end.startsWith("[") ? "" : "."}${end}`;
  }
  return end.length < most ? `…${end}` : cutStart(end, most);
}

function kindOf(part) {
  return part.findings.some((one) => one.severity === "error") ? "error" : "warning";
}

function arrowOf(part, open) {
  const x = part.x + PILL / 2;
  const y = part.from.y + 41;
  const isDown = part.to.y > part.from.y;
  const tip = isDown ? part.to.y + 9 : part.to.y + 11 + BAR;
  const back = isDown ? -8 : 8;
  return draw(
    "g",
    { class: `arrow ${kindOf(part)}`, on: { click: () => open(part.findings[0]) } },
    draw("title", { text: sentenceOf(part) }),
    draw("path", { class: "halo", d: `M${x} ${y}V${tip + back}` }),
    draw("path", { class: "shaft", d: `M${x} ${y}V${tip + back}` }),
    draw("path", { class: "tip", d: `M${x} ${tip}l-5 ${back}h10z` }),
  );
}

function sentenceOf(part) {
  const codes = [...new Set(part.findings.map((one) => one.code))].join(", ");
  const way = part.from ? `from ${part.from.name} to ${part.to.name}` : `in ${part.to.name}`;
  return `${codes} ${way}: ${part.findings[0].message}`;
}

/** The mark at the place of use: a button. */
function pillOf(part, open) {
  const y = part.to.y + 12;
  const codes = new Set(part.findings.map((one) => one.code));
  const text = codes.size === 1 ? [...codes][0] : `${part.findings.length} ×`;
  const act = () => open(part.findings[0]);
  const pill = draw(
    "g",
    {
      class: `pill ${kindOf(part)}`,
      role: "button",
      tabindex: 0,
      "aria-label": sentenceOf(part),
      on: {
        click: act,
        keydown: (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          event.stopPropagation();
          act();
        },
      },
    },
    draw("title", { text: sentenceOf(part) }),
    draw("rect", { x: part.x, y, width: PILL, height: 16, rx: 8 }),
    draw("text", { x: part.x + PILL / 2, y: y + 12, text }),
  );
  pill.ofFindings = part.findings;
  return pill;
}

/** The keys to the signs. */
function legend(row) {
  const sign = (name, ...shapes) =>
    make(
      "span",
      { class: "sign" },
      draw("svg", { width: 30, height: 14, "aria-hidden": true }, ...shapes),
      name,
    );
  const sitting = row.findings.some((one) => one.home_loop !== null);
  return make(
    "p",
    { class: "legend" },
    sign("a loop", draw("path", { class: "life", d: barOfLegend() })),
    sitting
      ? sign("bound to it", draw("rect", { class: "bound", y: 4, width: 30, height: 7, rx: 3.5 }))
      : null,
    sitting
      ? sign(
          "after its loop's end",
          draw("rect", { class: "outlives", y: 4, width: 30, height: 7, rx: 1 }),
        )
      : null,
    sitting
      ? sign(
          "used there",
          draw("path", { class: "shaft", d: "M4 7H20" }),
          draw("path", { class: "tip", d: "M28 7l-8 -5v10z" }),
        )
      : null,
    make("span", { class: "sign quiet", text: "order, not time" }),
  );
}

function barOfLegend() {
  return "M1 7V4Q1 1 4 1H26Q29 1 29 4V10Q29 13 26 13H4Q1 13 1 10Z";
}
