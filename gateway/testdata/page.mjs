// Runs the script of the page against a document of our own and prints what it
// draws for an answer: node page.mjs PAGE ANSWER.
import { readFileSync } from "node:fs";

class Element {
  constructor(tag) { Object.assign(this, { tag, attributes: {}, children: [], listeners: {}, textContent: "" }); }
  append(...children) { for (const c of children) { if (c instanceof Element) c.parent = this; this.children.push(c); } }
  prepend(...children) { this.children.unshift(...children); for (const c of children) c.parent = this; }
  replaceChildren(...children) { this.children = []; this.append(...children); }
  replaceWith(other) { other.parent = this.parent; this.parent.children[this.parent.children.indexOf(this)] = other; }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  addEventListener() {}
  all(tag) { return this.children.flatMap((c) => c instanceof Element ? [...(c.tag === tag ? [c] : []), ...c.all(tag)] : []); }
  get text() { return this.textContent + this.children.map((c) => c.text ?? c).join(""); }
}

const [page, answer] = process.argv.slice(2);
const ids = { drop: new Element("div"), file: new Element("input"), results: new Element("div") };
let asked;
globalThis.document = {
  getElementById: (id) => ids[id],
  createElement: (tag) => new Element(tag),
  createElementNS: (_, tag) => new Element(tag),
};
globalThis.URL.createObjectURL = () => "blob:picture";
globalThis.fetch = async (url) => { asked = url; return { json: async () => JSON.parse(answer) }; };

const script = readFileSync(page, "utf8").match(/<script>([^]*)<\/script>/)[1];
await new Function(script + "; return one({ name: 'picture.png' });")();
const { results } = ids;
console.log(JSON.stringify({
  asked,
  boxes: results.all("rect").map((e) => e.attributes),
  numbers: results.all("text").map((e) => e.textContent),
  viewBox: results.all("svg").map((e) => e.attributes.viewBox),
  rows: results.all("tr").map((e) => e.children.map((c) => c.text)),
  text: results.text,
}));
