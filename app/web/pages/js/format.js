// Numbers as people read them.

export function seconds(value) {
  const whole = Math.round(value);
  if (value < 10) return `${value.toFixed(value % 1 ? 1 : 0)} s`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The time that is left, rounded, because it is an estimate. */
export function roughly(value) {
  const grain = value < 10 ? 1 : value < 120 ? 5 : value < 600 ? 30 : 60;
  return seconds(grain * Math.ceil(value / grain));
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

/** A measured number with three digits at most, and no more than it has. */
export function figure(value) {
  return String(Number(value.toPrecision(3)));
}

/** `when` is in s since 1970, or ISO 8601. */
function dateOf(when) {
  return new Date(typeof when === "number" ? when * 1000 : when);
}

/** The day here as fields for dates have it, which sorts as text: 2026-05-03. */
export function isoDay(when) {
  const date = dateOf(when);
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

/** A date, or the time of day if it is today; `when` is in s since 1970, or ISO 8601. */
export function moment(when) {
  const date = dateOf(when);
  const today = new Date().toDateString() === date.toDateString();
  return today
    ? `today, ${date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`
    : date.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}

export function day(when) {
  return new Date(when).toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}
