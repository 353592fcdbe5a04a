// Descriptors as text: `inspect fds`.
import type { Descriptor, DescriptorPlace, TaskDescriptors } from "./descriptors";
import { bytesText, type Paint, plainPaint, safeText, textTable } from "./textTable";

const columns = [
  { title: "FD", align: "right" },
  { title: "KIND" },
  { title: "USE" },
  { title: "POSITION", align: "right" },
  { title: "TARGET" },
  { title: "OTHER END" },
  { title: "SAME FILE" },
] as const;

export function descriptorsText(task: TaskDescriptors, paint: Paint = plainPaint): string {
  const title = paint.strong(`${task.pid} ${safeText(task.command)}`);
  if (task.descriptors.length === 0) return `${title}: no descriptors\n`;
  const rows = task.descriptors.map((descriptor) => row(task.pid, descriptor));
  return `${title}\n${textTable(columns, rows, paint)}`;
}

function row(pid: number, descriptor: Descriptor): string[] {
  const { fd, kind, access, closeOnExec, position, target, queuedBytes, peers, sharedWith } = descriptor;
  const queued = queuedBytes > 0 ? `, ${bytesText(queuedBytes)} unread` : "";
  return [
    String(fd),
    kind,
    `${access}${closeOnExec ? " cloexec" : ""}`.trim(),
    position === undefined ? "" : String(position),
    safeText(target) + queued,
    placesText(pid, peers),
    placesText(pid, sharedWith),
  ];
}

/** "5", or "15812:5" for another task's; at most six. */
function placesText(pid: number, places: readonly DescriptorPlace[]): string {
  const shown = places.slice(0, 6).map((place) => (place.pid === pid ? `${place.fd}` : `${place.pid}:${place.fd}`));
  return shown.join(" ") + (places.length > 6 ? ` +${places.length - 6}` : "");
}
