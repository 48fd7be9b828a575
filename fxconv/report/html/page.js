"use strict";
(() => {
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));

  const view = document.getElementById("graph-view");
  if (!view) return;
  const drawing = document.getElementById("graph-drawing");
  const detail = document.getElementById("detail");
  const layers = JSON.parse(document.getElementById("layers-data").textContent);
  const nodes = [...drawing.querySelectorAll(".node")];
  const width = drawing.width.baseVal.value;
  const height = drawing.height.baseVal.value;
  let scale = 1;

  const zoom = (wanted) => {
    const before = scale;
    scale = Math.min(4, Math.max(0.15, wanted));
    drawing.setAttribute("width", width * scale);
    drawing.setAttribute("height", height * scale);
    view.scrollTop *= scale / before;
    view.scrollLeft *= scale / before;
  };
  const steps = { in: () => zoom(scale * 1.25), out: () => zoom(scale / 1.25), reset: () => zoom(1) };
  Object.entries(steps).forEach(([name, step]) => document.getElementById(`zoom-${name}`).addEventListener("click", step));
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(scale * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
  }, { passive: false });

  let held = null;
  let moved = false;
  view.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button) return;
    held = { x: event.clientX + view.scrollLeft, y: event.clientY + view.scrollTop };
    moved = false;
  });
  addEventListener("pointermove", (event) => {
    if (!held) return;
    const left = held.x - event.clientX;
    const top = held.y - event.clientY;
    if (!moved && Math.hypot(left - view.scrollLeft, top - view.scrollTop) < 5) return;
    moved = true;
    view.classList.add("held");
    view.scrollLeft = left;
    view.scrollTop = top;
  });
  addEventListener("pointerup", () => { held = null; view.classList.remove("held"); });

  const choose = (node) => {
    drawing.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
    node.classList.add("chosen");
    const list = document.createElement("dl");
    Object.entries(layers[Number(node.dataset.index)]).forEach(([name, lines]) => {
      const term = document.createElement("dt");
      term.textContent = name;
      list.append(term, ...lines.map((line) => {
        const said = document.createElement("dd");
        said.textContent = line;
        return said;
      }));
    });
    detail.replaceChildren(list);
    const row = `layer-${node.dataset.index}`;
    if (!document.getElementById(row)) return;
    const link = document.createElement("a");
    link.href = `#${row}`;
    link.textContent = "Its row in the table, with its values";
    detail.append(link);
  };
  const go = (index) => {
    const node = nodes[Math.min(nodes.length - 1, Math.max(0, index))];
    nodes.forEach((other) => other.setAttribute("tabindex", other === node ? "0" : "-1"));
    node.focus();
    node.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  nodes.forEach((node, index) => {
    node.addEventListener("click", () => { if (!moved) { go(index); choose(node); } });
    node.addEventListener("keydown", (event) => {
      const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: nodes.length - 1 }[event.key];
      if (to !== undefined) { event.preventDefault(); go(to); }
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(node); }
    });
  });
  document.querySelectorAll("a[data-node]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    view.scrollIntoView({ block: "center" });
    go(Number(link.dataset.node));
    choose(nodes[Number(link.dataset.node)]);
  }));
  view.addEventListener("keydown", (event) => {
    const step = { "+": "in", "=": "in", "-": "out", 0: "reset" }[event.key];
    if (step && !event.ctrlKey && !event.metaKey) { event.preventDefault(); steps[step](); }
  });
})();
