// LDK's sockets. What LDK wants to send waits until `flush`, so that a peer never sees what a crash could take back.
import * as net from "net";

const HOST = "127.0.0.1";

export class Net {
  /** `afterRead` is called whenever LDK has been given bytes. */
  constructor(ldk, peers, afterRead) {
    this.ldk = ldk;
    this.peers = peers;
    this.afterRead = afterRead;
    this.links = new Set();
    this.count = 0n;
  }

  attach(socket) {
    const { ldk, peers } = this;
    const number = this.count++;
    const link = { socket, output: [], ended: false };
    socket.setNoDelay(true);
    link.descriptor = ldk.SocketDescriptor.new_impl({
      send_data(data, resumeRead) {
        if (resumeRead) socket.resume();
        link.output.push(Buffer.from(data));
        return data.length;
      },
      disconnect_socket() { link.ended = true; },
      eq(other) { return other.hash() === number; },
      hash() { return number; },
    });
    const closed = () => {
      if (this.links.delete(link) && !link.ended) peers.socket_disconnected(link.descriptor);
    };
    socket.on("data", (data) => {
      if (!link.ended && !peers.read_event(link.descriptor, data).is_ok()) link.ended = true;
      this.afterRead();
    });
    socket.on("close", closed);
    socket.on("error", closed);
    this.links.add(link);
    return link;
  }

  listen(port) {
    const none = this.ldk.Option_SocketAddressZ.constructor_none();
    const server = net.createServer((socket) => {
      const link = this.attach(socket);
      if (!this.peers.new_inbound_connection(link.descriptor, none).is_ok()) link.ended = true;
    });
    return new Promise((resolve, reject) => {
      server.on("error", reject);
      server.listen(port, HOST, () => resolve(server.address().port));
    });
  }

  connect(port, nodeId) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(port, HOST, () => {
        const link = this.attach(socket);
        const none = this.ldk.Option_SocketAddressZ.constructor_none();
        const started = this.peers.new_outbound_connection(nodeId, link.descriptor, none);
        if (!started.is_ok()) return reject(new Error("LDK refuses the connection"));
        link.output.push(Buffer.from(started.res));
        this.flush();
        return resolve(null);
      });
      socket.on("error", reject);
    });
  }

  flush() {
    for (const link of this.links) {
      if (link.output.length) link.socket.write(Buffer.concat(link.output.splice(0)));
      if (link.ended) {
        this.links.delete(link);
        link.socket.end();
      }
    }
  }
}
