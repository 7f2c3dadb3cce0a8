"use strict";
(() => {
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const heats = [...document.querySelectorAll(".heat")];
  const heads = [...document.querySelectorAll("thead th[data-column]")];
  const bodies = [...document.querySelectorAll(".grid tbody")];
  const filters = [...document.querySelectorAll("[data-filter]")];

  const number = (value) => {
    const text = value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5
      ? String(Number(value.toPrecision(3))) : value.toExponential(1);
    return text.replace("+", "").replace(/-/g, "\u2212");
  };

  const setOpacity = () => {
    root.style.setProperty("--opacity", find("opacity").value / 100);
    find("opacity-value").textContent = find("opacity").value + " %";
  };

  const setSize = () => {
    root.style.setProperty("--size", find("size").value + "px");
    find("size").setAttribute("aria-valuetext", find("size").value + " pixels");
  };

  // Maps are stored with their own largest value at white. Another scale stretches them about the middle, which is 0.
  const setScale = () => {
    const scale = find("scale").value;
    const shared = scale === "method";
    const tops = heads.map((head) => Number(head.dataset.top));
    for (const heat of heats) {
      const own = scale === "saturated" ? Number(heat.dataset.most) : Number(heat.dataset.top);
      const gain = Number(heat.dataset.top) / (shared ? tops[heat.dataset.column] : own);
      heat.style.setProperty("--gain", gain);
    }
    for (const head of heads) {
      const ramp = head.querySelector(".ramp");
      if (!ramp) continue;
      const top = Number(head.dataset.top);
      const end = shared ? number(top) : scale === "saturated" ? "99 %" : "max";
      ramp.querySelector(".low").textContent = head.dataset.signed === "yes" ? "\u2212" + end : "0";
      ramp.querySelector(".high").textContent = end;
    }
  };

  const setColours = () => root.style.setProperty("--sequential", `url(#${find("colours").value})`);

  const setRows = () => {
    const wanted = find("find") ? find("find").value.trim().toLowerCase() : "";
    let shown = 0;
    for (const body of bodies) {
      const fits = filters.every((f) => !f.value || body.dataset[f.dataset.filter] === f.value);
      body.hidden = !(fits && body.dataset.text.includes(wanted));
      if (!body.hidden) shown += 1;
    }
    find("shown").textContent = shown === bodies.length
      ? `${shown} ${shown === 1 ? "row" : "rows"}` : `${shown} of ${bodies.length} rows`;
    find("none").hidden = shown > 0 || bodies.length === 0;
  };

  const setBar = () => root.style.setProperty("--bar", find("bar").offsetHeight + "px");
  const peek = (on) => root.classList.toggle("peek", on);
  const on = (id, event, act) => { if (find(id)) find(id).addEventListener(event, act); };

  on("bar", "submit", (event) => event.preventDefault());
  on("opacity", "input", setOpacity);
  on("size", "input", setSize);
  on("scale", "change", setScale);
  on("colours", "change", setColours);
  on("grey", "change", () => root.classList.toggle("grey", find("grey").checked));
  on("truth", "change", () => root.classList.toggle("with-truth", find("truth").checked));
  on("find", "input", setRows);
  on("reset", "click", () => {
    for (const f of filters) f.value = "";
    if (find("find")) find("find").value = "";
    setRows();
  });
  for (const f of filters) f.addEventListener("change", setRows);

  const typing = (node) => node.closest("input, select, textarea, button, summary, a");
  document.addEventListener("keydown", (event) => {
    if (event.code !== "Space" || event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
    event.preventDefault();
    peek(true);
  });
  document.addEventListener("keyup", (event) => { if (event.code === "Space") peek(false); });
  document.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.target.closest(".pic")) peek(true);
  });
  for (const end of ["pointerup", "pointercancel", "blur"]) window.addEventListener(end, () => peek(false));

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = find(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        // no clipboard for this page: the text is selected, ready for the user's own copy
        window.getSelection().selectAllChildren(source);
        button.textContent = "Selected";
      }
    });
  }

  new ResizeObserver(setBar).observe(find("bar"));
  setBar();
  setOpacity();
  setSize();
  setScale();
  setColours();
  setRows();
})();
