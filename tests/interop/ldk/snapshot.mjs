// One file with the manager and all monitors, replaced as a whole: LDK closes a channel whose manager is older than its
// monitor, so neither is ever kept without the other.
import * as fs from "fs";
import * as path from "path";
import { hex } from "./views.mjs";

export class SnapshotStore {
  /** An empty directory name keeps nothing. */
  constructor(ldk, dataDir) {
    this.file = dataDir && path.join(dataDir, "snapshot.json");
    if (dataDir) fs.mkdirSync(dataDir, { recursive: true });
    this.monitors = new Map(); // by funding outpoint
    this.dirty = false;
    const note = (outpoint, monitor) => {
      if (this.file) this.monitors.set(hex(outpoint.write()), Buffer.from(monitor.write()).toString("base64"));
      this.dirty = true;
      return ldk.ChannelMonitorUpdateStatus.LDKChannelMonitorUpdateStatus_Completed;
    };
    this.persist = ldk.Persist.new_impl({
      persist_new_channel: note,
      update_persisted_channel: (outpoint, update, monitor) => note(outpoint, monitor),
      archive_persisted_channel: (outpoint) => { this.monitors.delete(hex(outpoint.write())); this.dirty = true; },
    });
  }

  load() {
    if (!this.file || !fs.existsSync(this.file)) return null;
    const { manager, monitors } = JSON.parse(fs.readFileSync(this.file, "utf8"));
    const raw = (text) => new Uint8Array(Buffer.from(text, "base64"));
    return { manager: raw(manager), monitors: monitors.map(raw) };
  }

  save(manager) {
    const changed = manager.get_and_clear_needs_persistence();
    if (!this.file || !(changed || this.dirty)) return;
    this.dirty = false;
    const snapshot = { manager: Buffer.from(manager.write()).toString("base64"), monitors: [...this.monitors.values()] };
    fs.writeFileSync(this.file + ".new", JSON.stringify(snapshot));
    fs.renameSync(this.file + ".new", this.file);
  }
}
