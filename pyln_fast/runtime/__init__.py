"""The shell: sockets, timers, disk and bitcoind. The only place that waits."""
