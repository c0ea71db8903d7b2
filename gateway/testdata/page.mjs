// Runs the script of the page against a document of our own and prints what it
// draws for an answer: node page.mjs PAGE ANSWER. With KEY SECOND a key is entered
// after that, and SECOND is the next answer.
import { readFileSync } from "node:fs";

class Element {
  constructor(tag) { Object.assign(this, { tag, attributes: {}, children: [], listeners: {}, textContent: "" }); }
  append(...children) { for (const c of children) { if (c instanceof Element) c.parent = this; this.children.push(c); } }
  prepend(...children) { this.children.unshift(...children); for (const c of children) c.parent = this; }
  replaceChildren(...children) { this.children = []; this.append(...children); }
  remove() { this.parent.children = this.parent.children.filter((c) => c !== this); }
  replaceWith(other) { other.parent = this.parent; this.parent.children[this.parent.children.indexOf(this)] = other; }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  addEventListener() {}
  all(tag) { return this.children.flatMap((c) => c instanceof Element ? [...(c.tag === tag ? [c] : []), ...c.all(tag)] : []); }
  get text() { return this.textContent + this.children.map((c) => c.text ?? c).join(""); }
}

const [page, answer, key, second] = process.argv.slice(2);
const ids = {
  drop: new Element("div"), file: new Element("input"), results: new Element("div"), auth: new Element("label"),
  key: new Element("input"),
};
ids.auth.hidden = true;
const answers = [answer, second], keys = [];
let asked;
globalThis.document = {
  getElementById: (id) => ids[id],
  createElement: (tag) => new Element(tag),
  createElementNS: (_, tag) => new Element(tag),
};
globalThis.URL.createObjectURL = () => "blob:picture";
globalThis.fetch = async (url, { headers }) => {
  asked = url;
  keys.push(headers["X-API-Key"] ?? "");
  const body = answers.shift();
  return { json: async () => JSON.parse(body) };
};

const script = readFileSync(page, "utf8").match(/<script>([^]*)<\/script>/)[1];
await new Function(script + "; return one({ name: 'picture.png' });")();
const wanted = !ids.auth.hidden;
if (key) {
  ids.key.value = key;
  await ids.key.onchange();
}
const { results } = ids;
console.log(JSON.stringify({
  asked, keys, wanted,
  boxes: results.all("rect").map((e) => e.attributes),
  numbers: results.all("text").map((e) => e.textContent),
  viewBox: results.all("svg").map((e) => e.attributes.viewBox),
  rows: results.all("tr").map((e) => e.children.map((c) => c.text)),
  text: results.text,
}));
