// Unfolds everything, then notes what does not fit into its place.
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const root = document.documentElement;
  const misfits = [];
  if (root.scrollWidth > innerWidth) misfits.push(`the page is ${root.scrollWidth} wide of ${innerWidth}`);
  for (const cell of document.querySelectorAll("td, th, dd, li, summary, .tile")) {
    if (cell.closest(".scroll")) continue;
    if (cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth > 0) misfits.push(`cell: ${cell.textContent.slice(0, 60)}`);
  }
  const charts = document.querySelectorAll("svg.chart");
  for (const chart of charts) {
    const frame = chart.getBoundingClientRect();
    const boxes = [...chart.querySelectorAll("text")].map((text) => [text, text.getBoundingClientRect()]);
    const name = (text) => `${chart.getAttribute("aria-label")}: ${text.firstChild.textContent}`;
    boxes.forEach(([text, box], at) => {
      const isOut = box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
      if (isOut) misfits.push(`leaves the chart: ${name(text)}`);
      for (const [other, b] of boxes.slice(at + 1)) {
        const covers = box.left < b.right - 1 && b.left < box.right - 1 && box.top < b.bottom - 3 && b.top < box.bottom - 3;
        if (covers) misfits.push(`covered: ${name(text)} and ${other.firstChild.textContent}`);
      }
    });
    for (const bar of chart.querySelectorAll("rect, circle")) {
      const box = bar.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1) misfits.push(`leaves the chart: ${bar.textContent}`);
      for (const [text, b] of boxes) {
        if (!text.classList.contains("value")) continue;
        if (box.right > b.left + 1 && box.left < b.right && box.top < b.bottom - 3 && box.bottom > b.top + 3) misfits.push(`a bar covers: ${name(text)}`);
      }
    }
  }
  root.dataset.charts = charts.length;
  root.dataset.misfits = misfits.join("\n");
});
