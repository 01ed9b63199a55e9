// A click on a heading sorts the rows by its column: by value, and a second click the other way round.
for (const heading of document.querySelectorAll("th[data-sort]")) {
  heading.addEventListener("click", () => {
    const body = heading.closest("table").tBodies[0];
    const at = heading.cellIndex;
    const key = (row) => Number(row.cells[at].dataset.v);
    const sign = heading.dataset.sort === "down" ? 1 : -1;
    heading.dataset.sort = sign < 0 ? "down" : "up";
    [...body.rows].sort((a, b) => sign * (key(a) - key(b))).forEach((row) => body.append(row));
  });
}
