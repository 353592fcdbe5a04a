// Named limits: the longest queue, the largest step, the longest wait. One line of reason each.

/** Bytes in a page. x86-64 only. */
export const PAGE_BYTES = 4096;

/** Most pages in one stored block or one install: the staging buffer of each pager thread is as large (4 MiB). */
export const BLOCK_PAGES_MAX = 1024;
/** Messages read from one uffd at a time; what is left stays queued in the kernel. */
export const MESSAGES_READ_MAX = 1024;
/** Descriptors that one wait reports. */
export const READY_MAX = 64;
/** Entries of what one wait served by itself. */
export const SERVED_MAX = 1024;
/** How long a wait goes on serving faults that follow each other, microseconds: while work waits in the background, and else. */
export const SERVE_US_MAX = 300;
export const SERVE_IDLE_US_MAX = 5000;
/** A plan for a wait is made anew after a layout event when one fault for so many of its ranges has come: making it costs. */
export const SERVE_RANGES_PER_FAULT = 64;
/** Ranges of such a plan at most; with more, every fault is reported. */
export const SERVE_RANGES_MAX = 2 ** 18;
/** Ranges of a layout that is kept built for the next restore of the directory, at most; with more it is built anew. */
export const SPACE_KEPT_RANGES_MAX = 2 ** 18;
/** How long a wait spins after activity before it sleeps: about what a sleep and wake-up costs. */
export const SPIN_US_DEFAULT = 80;

/** Most bytes of a packed page file's index: about 100 million blocks, or 6 TiB of pages in blocks of 64 KiB. */
export const PACKED_INDEX_BYTES_MAX = 1024 * 1024 * 1024;
/** Most pages of one image file: 2 to the 52 bytes, so that byte offsets stay exact. */
export const IMAGE_PAGES_MAX = 2 ** 40;

/** Messages inside messages of an image; protobuf's own default. */
export const MESSAGE_DEPTH_MAX = 100;
/** Largest image file that is read as a whole, bytes. Pages files are read in blocks. */
export const IMAGE_BYTES_MAX = 1024 * 1024 * 1024;
/** Directories in a chain of `parent` links. */
export const PARENT_CHAIN_MAX = 1024;
/** Page numbers of a 64-bit address space. */
export const ADDRESS_PAGES_MAX = 2 ** 52;

/** Pages drained in one step, 1 MiB, while no fault has come lately: a message ends the step within 64 KiB. */
export const DRAIN_STEP_PAGES = 256;
/** Pages drained in one step while faults come: the longest that the next one waits behind the drain, about 30 µs. */
export const DRAIN_STEP_PAGES_BUSY = 16;
/** Largest block, pages, that the drain queues and reads ahead; larger ones are installed one by one. */
export const AHEAD_BLOCK_PAGES_MAX = 16;
/** Blocks that are decoded ahead of the drain at most: 1 MiB, which the processor's cache holds. */
export const AHEAD_SLOTS = 16;
/** Runs of pages that the drain queues at most, for each context. */
export const QUEUED_RUNS_MAX = 64;
/** Runs queued beyond those of a step: while nothing happens, and while faults come, which may need the same disk. */
export const DRAIN_AHEAD_RUNS = 16;
export const DRAIN_AHEAD_RUNS_BUSY = 2;
/**
 * How long the drain sleeps after each step while others want its processor, microseconds: they wait for one small step then,
 * and not for a time slice of 3 ms.
 */
export const DRAIN_YIELD_US = 30;
/** How long after a fault the steps stay small, microseconds. */
export const DRAIN_BUSY_US = 2000;
/** How long after an answer the pager only looks for the next fault, microseconds: a program that jumps about faults again. */
export const LINGER_US = 10;
/** The same while nothing waits in the background: waking the program on a processor that has halted takes it so long. */
export const LINGER_IDLE_US = 60;
/** How long V8 optimizes nothing after the first task of a pager came, milliseconds. */
export const OPTIMIZER_HOLD_MS = 2000;
/** Pages drained next to one recent fault before the order of addresses takes over. */
export const DRAIN_NEIGHBOUR_PAGES = 256;
/** Recent faults whose surroundings wait to be installed, for each context. */
export const RECENT_FAULTS_MAX = 16;
/** Pages installed at once after faults that follow each other, at most. */
export const SEQUENTIAL_PAGES_MAX = 64;
/** Zero pages given at most to one fault: page tables only, about 0.4 µs a page. */
export const ZERO_WINDOW_PAGES_MAX = 512;
/** The first and the longest wait before a deferred fault is tried again, microseconds. */
export const DEFER_FIRST_US = 50;
export const DEFER_MOST_US = 2000;
/** How often a page that cannot be read is tried again under the policy `wait`, microseconds. */
export const UNREADABLE_RETRY_US = 1_000_000;
/** How often contexts are asked whether their address space still exists, microseconds: exit raises no event. */
export const PROBE_US = 1_000_000;
/** Longest sleep of the pager, microseconds. */
export const PAGER_SLEEP_US = 1_000_000;
/** So many address spaces may have exited unnoticed until the next probe; with more, each fork asks after older ones. */
export const CONTEXTS_UNASKED_MAX = 8;
/** The first pause before the process behind a failed context is looked for, microseconds; it doubles with each search. */
export const SEARCH_FIRST_US = 5000;
/** Searches for that process before its pages are poisoned instead: about 2.5 s. */
export const SEARCHES_MAX = 9;
/** Reports of ended sessions that a pager keeps. */
export const ENDED_SESSIONS_MAX = 100;
/** Events that a service keeps for listeners that come late. */
export const SERVICE_EVENTS_MAX = 1000;
/** Ended restores that a service still answers for. */
export const SERVICE_RESTORES_MAX = 1000;
/** Bytes of one request body of the service: its requests are a few short fields. */
export const REQUEST_BODY_BYTES_MAX = 64 * 1024;
/** Most bytes of a match that search finds across the chunks that it decodes; also of a literal that it looks for. */
export const MATCH_BYTES_MAX = 4096;
/** How long a regular expression may take for 4 MiB, or for the next 1024 matches in them, milliseconds: some take for ever. */
export const EXPRESSION_MS_MAX = 30_000;
/** Most bytes shown before and after a match. */
export const CONTEXT_BYTES_MAX = 1024 * 1024;

/** Ranges of a working set, in its file and in memory: what comes last is left out. */
export const WORKING_SET_RANGES_MAX = 65536;
/** Pages of a working set, 4 GiB of memory. */
export const WORKING_SET_PAGES_MAX = 2 ** 20;
/** Largest working set file that is read: twice what that many ranges take. */
export const WORKING_SET_BYTES_MAX = 4 * 1024 * 1024;
/** Zero pages that one working set may install: alone in its page table each costs 4 KiB, and a hint may cost only time. */
export const WORKING_SET_ZERO_PAGES_MAX = 16384;
/** Ranges of a working set looked at in one step, which may all turn out to be there: about 50 µs. */
export const WORKING_SET_VISITS_MAX = 256;
/** Bytes of one step's advice to read ahead. */
export const READ_AHEAD_STEP_BYTES = 2 * 1024 * 1024;
/** Pieces of a working set that are looked up before a restore's processes are there: some 2 ms. */
export const READ_AHEAD_LOOKUPS_MAX = 4096;
/** Steps of that advice given at once: 8 MiB. */
export const READ_AHEAD_FIRST_STEPS = 4;
/** A gap in a file up to this long is read too, bytes: most storage takes longer to begin a read than to read that. */
export const READ_AHEAD_GAP_BYTES = 64 * 1024;
/** How long a restore lets its tasks wait for their working set before they run, microseconds. */
export const WORKING_SET_HOLD_US = 100_000;
/** How long no fault must come before a recorded restore begins to drain, microseconds. */
export const RECORD_QUIET_US = 1_000_000;
/** How long a recorded restore puts the drain off at most, microseconds. */
export const RECORD_HOLD_US = 30_000_000;

/** How long a restore waits for zombies that hold its pids, milliseconds: the pid 1 of some containers reaps every 2 s. */
export const ZOMBIE_PATIENCE_MS = 5000;
/** How often it looks, milliseconds. */
export const ZOMBIE_POLL_MS = 5;
