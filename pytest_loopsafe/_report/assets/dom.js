// Elements are made one by one and texts are set as texts: nothing of the code under test is ever
// read as markup, and the page's policy runs no other script.

const SVG = "http://www.w3.org/2000/svg";
const MOST = 4000; // characters of one text that are shown
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** A text in which nothing hides: controls, turns of direction and halves of pairs as escapes. */
function clean(text, lines = false) {
  let shown = String(text ?? "");
  if (shown.length > MOST) {
    const left = shown.length - MOST;
    shown = `${shown.slice(0, MOST)} … and ${left} more characters`;
  }
  return shown.replaceAll("\t", "    ").replace(UNSEEN, (one) => {
    if (one === "\n" && lines) return one;
    const code = one.codePointAt(0);
    if (code < 256) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code < 0x10000
      ? `\\u${code.toString(16).padStart(4, "0")}`
      : `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

/** An element. `attributes`: text, class, on (listeners), and what is set by setAttribute. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = clean(value);
    else if (key === "lines") element.textContent = clean(value, true);
    else if (key === "on") {
      for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    } else
      element.setAttribute(
        key,
        key === "title" || key.startsWith("aria-") ? clean(value) : String(value),
      );
  }
  element.append(...children.filter((one) => one !== null && one !== undefined));
  return element;
}

/** A link to http or https, in a window of its own; of any other address only the text. */
function link(address, text) {
  let url = null;
  try {
    url = new URL(address);
  } catch {
    // no address at all
  }
  if (url === null || !["http:", "https:"].includes(url.protocol)) return make("span", { text });
  return make("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", text });
}

function count(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}

/** The end of a text that is too long says most: `…sions.layer2.notifier.client`. */
function cutStart(text, most) {
  const shown = clean(text);
  return shown.length > most ? `…${shown.slice(shown.length - most + 1)}` : shown;
}

function cutEnd(text, most) {
  const shown = clean(text);
  return shown.length > most ? `${shown.slice(0, most - 1)}…` : shown;
}

/** Call it once in the next frame, however often it is asked for. */
function soon(call) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      call();
    });
  };
}
