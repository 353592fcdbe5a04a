// What this kernel's userfaultfd can do, asked once on a descriptor of its own, because UFFDIO_API can be called only
// once on each (ioctl_userfaultfd(2)). Names and numbers of feature bits; no decisions.
import { checked } from "../errors";
import { native } from "../native";

/** UFFD_FEATURE_* bits (include/uapi/linux/userfaultfd.h). */
export const UffdFeature = {
  PagefaultFlagWp: 1 << 0,
  EventFork: 1 << 1,
  EventRemap: 1 << 2,
  EventRemove: 1 << 3,
  MissingHugetlbfs: 1 << 4,
  MissingShmem: 1 << 5,
  EventUnmap: 1 << 6,
  Sigbus: 1 << 7,
  ThreadId: 1 << 8,
  MinorHugetlbfs: 1 << 9,
  MinorShmem: 1 << 10,
  ExactAddress: 1 << 11,
  WpHugetlbfsShmem: 1 << 12,
  WpUnpopulated: 1 << 13,
  Poison: 1 << 14,
  WpAsync: 1 << 15,
  Move: 1 << 16,
} as const;

/** What a pager needs to follow a program that changes its layout: FORK, REMAP, REMOVE, UNMAP. */
export const LAYOUT_FEATURES =
  UffdFeature.EventFork | UffdFeature.EventRemap | UffdFeature.EventRemove | UffdFeature.EventUnmap;

export const UffdMode = { Missing: 1, WriteProtect: 2, Minor: 4 } as const;

/** UFFD_USER_MODE_ONLY, a flag of userfaultfd(2): faults taken inside system calls are not reported. */
export const USER_MODE_ONLY = 1;

export interface UffdAbilities {
  /** All feature bits of the kernel, known or not. */
  readonly features: number;
  readonly threadId: boolean;
  readonly poison: boolean;
  readonly move: boolean;
  readonly minorShmem: boolean;
  /** FORK, REMAP, REMOVE and UNMAP are all there, so that lazy restore is possible. */
  readonly layoutEvents: boolean;
}

let known: UffdAbilities | undefined;

/** Probes once and remembers. Throws PERMISSION where userfaultfd(2) is refused. */
export function probeUffd(): UffdAbilities {
  if (known !== undefined) return known;
  const out = new Float64Array(2);
  const fd = checked(native.uffdCreate(0), "userfaultfd", "userfaultfd is refused", {
    advice: "run as root or with CAP_SYS_PTRACE",
  });
  try {
    checked(native.uffdApi(fd, 0, out), "UFFDIO_API", "this kernel has another userfaultfd interface");
  } finally {
    native.closeDescriptor(fd);
  }
  const features = out[0]!;
  const has = (bits: number): boolean => (features & bits) === bits;
  known = {
    features,
    threadId: has(UffdFeature.ThreadId),
    poison: has(UffdFeature.Poison),
    move: has(UffdFeature.Move),
    minorShmem: has(UffdFeature.MinorShmem),
    layoutEvents: has(LAYOUT_FEATURES),
  };
  return known;
}
