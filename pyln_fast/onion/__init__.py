"""BOLT 4: the packets that route a payment or a message, and those that bring a failure back.

`packet` builds and peels, `failure_packet` creates, wraps and unwraps. What a payload or a failure message says is
`wire.onion_payloads` and `wire.failure_msgs`: of the packages below the middle layer, this one may import wire. What to
do about a hop (forward, receive, blame) is decided above.
"""
