"use strict";
// Theme, and tables that sort and filter. The pages work without this file, except for these.
(() => {
  const root = document.documentElement;
  const stored = (() => {
    try { return localStorage.getItem("vpbench-theme"); } catch { return null; }
  })();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;

  function addTheme(button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const isDark = getComputedStyle(root).colorScheme === "dark";
      root.dataset.theme = isDark ? "light" : "dark";
      try { localStorage.setItem("vpbench-theme", root.dataset.theme); } catch { /* the choice lasts for this page */ }
    });
  }

  // Missing numbers come last in both directions, and equal ones keep their order.
  function compare(first, second, sign) {
    if (typeof first === "string") return sign * first.localeCompare(second, undefined, { numeric: true });
    if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second);
    return sign * (first - second);
  }

  function addSorting(table) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((cell) => cell.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        const value = (row) => {
          const cell = row.cells[column];
          return "text" in head.dataset ? cell.textContent.trim() : parseFloat(cell.dataset.order);
        };
        const rows = [...body.rows].map((row) => [value(row), row]);
        rows.sort((first, second) => compare(first[0], second[0], sign));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
  }

  function addFilter(form) {
    const rows = [...form.parentElement.querySelector("tbody").rows];
    const output = form.querySelector("output");
    const apply = () => {
      const values = new FormData(form);
      let count = 0;
      for (const row of rows) {
        const name = (values.get("name") || "").trim().toLowerCase();
        const fits = ["training", "size", "kind"].every((key) => !values.get(key) || row.dataset[key] === values.get(key));
        row.hidden = !(fits && row.dataset.name.toLowerCase().includes(name));
        count += row.hidden ? 0 : 1;
      }
      output.value = `${count} of ${rows.length} predictors`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("button.theme").forEach(addTheme);
    document.querySelectorAll("table.sortable").forEach(addSorting);
    document.querySelectorAll("form.filter").forEach(addFilter);
  });
})();
