// Numbers as people read them.

export function seconds(value) {
  const whole = Math.round(value);
  if (value < 10) return `${value.toFixed(1)} s`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function clock(value) {
  const whole = Math.max(0, Math.floor(value));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function bytes(value) {
  if (value < 1 << 20) return `${Math.max(1, Math.round(value / 1024))} kB`;
  const large = value >= 2 ** 30;
  const number = value / (large ? 2 ** 30 : 2 ** 20);
  return `${number < 10 && number % 1 ? number.toFixed(1) : Math.round(number)} ${large ? "GB" : "MB"}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

export function distance(value) {
  return value === null || value === undefined ? "" : value.toPrecision(3);
}

export function percent(value) {
  const shown = 100 * value;
  return shown > 99.9 ? "over 99.9 %" : shown < 0.1 ? "under 0.1 %" : `${shown < 10 || shown > 99 ? shown.toFixed(1) : Math.round(shown)} %`;
}

/** A date, or the time of day where it is today; `when` is s since 1970 or ISO 8601. */
export function moment(when) {
  const date = typeof when === "number" ? new Date(when * 1000) : new Date(when);
  const today = new Date().toDateString() === date.toDateString();
  return today
    ? `today, ${date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`
    : date.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}

export function day(when) {
  return new Date(when).toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}
