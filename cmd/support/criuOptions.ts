// Options of CRIU's that ask for what Faultline does in any case, so that a command line made for CRIU can be used as it is.
// What they ask for otherwise is no option here, and so wrong usage.
import { type Command, Option } from "commander";

export function acceptCriuOptions(command: Command): Command {
  return command
    .option("--force-irmap", "accepted as CRIU's: the names of watched files are always noted")
    .option("--evasive-devices", "accepted as CRIU's: deleted devices are always taken along")
    .option("--ghost-fiemap", "accepted as CRIU's: the holes of deleted files are never stored")
    .option("--no-ghost-fiemap", "accepted as CRIU's: how holes are found makes no difference here")
    .addOption(new Option("--manage-cgroups <mode>", "accepted as CRIU's: cgroups are left alone").choices(["ignore"]));
}
