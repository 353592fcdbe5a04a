// The service's event log: the last events kept in memory, and live listeners. No I/O.
import { SERVICE_EVENTS_MAX } from "../limits";

/** One thing that happened: `id` counts up from 1, `time` is ISO 8601, the rest depends on `kind`. */
export interface ServiceEvent {
  readonly id: number;
  readonly time: string;
  readonly kind: string;
  readonly [field: string]: unknown;
}

export type EventListener = (event: ServiceEvent) => void;

export class EventLog {
  private readonly kept: ServiceEvent[] = [];
  private readonly listeners = new Set<EventListener>();
  private nextId = 1;

  emit(kind: string, fields: Record<string, unknown> = {}): ServiceEvent {
    const event: ServiceEvent = { ...fields, id: this.nextId++, time: new Date().toISOString(), kind };
    this.kept.push(event);
    if (this.kept.length > SERVICE_EVENTS_MAX) this.kept.shift();
    for (const listener of this.listeners) listener(event);
    return event;
  }

  /** The kept events with an id greater than `id`, oldest first. */
  since(id: number): readonly ServiceEvent[] {
    return this.kept.filter((event) => event.id > id);
  }

  /** Calls `listener` for every event from now on; returns what ends that. */
  listen(listener: EventListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
