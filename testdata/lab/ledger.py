"""What truly happened to every TCP segment on the wire, per connection and direction.

The relay sees each frame when its sender sent it and again when it hands it on, so it knows which
copy was dropped, which original arrived after a later one and which repeat met a receiver that
already had every octet. The kernel knows how often it repeated; the ledger knows what became of it.
"""
FIN, SYN, ACK = 1, 2, 16


class Ranges:
    """Disjoint ranges of octets; few at any time."""

    def __init__(self):
        self.ranges = []

    def overlaps(self, start, end):
        return any(a < end and start < b for a, b in self.ranges)

    def covers(self, start, end):
        return any(a <= start and end <= b for a, b in self.ranges)

    def add(self, start, end):
        kept = []
        for a, b in self.ranges:
            if b < start or end < a:
                kept.append((a, b))
            else:
                start, end = min(a, start), max(b, end)
        kept.append((start, end))
        self.ranges = sorted(kept)


class Account:
    """One direction of one connection. Counts are segments that occupy sequence space."""

    def __init__(self, seq):
        self.base = seq
        self.sent, self.delivered = Ranges(), Ranges()
        self.sent_max = 0
        self.later = 0  # highest start of an original that was delivered
        self.counts = dict.fromkeys(
            ("originals", "retransmitted", "retransmitted_dropped", "originals_dropped", "late_originals",
             "network_duplicates", "needless_delivered", "probes", "syn_first_seen"), 0)

    def sent_segment(self, frame):
        """Books a segment as it is sent; gives what it is, for `delivered_segment`."""
        start = (frame.seq - self.base) & 0xFFFFFFFF
        length = frame.payload_len + bool(frame.flags & SYN) + bool(frame.flags & FIN)
        if length == 0:
            return None
        end, control = start + length, frame.flags & (SYN | FIN)
        if not control and frame.payload_len <= 1 and end == self.sent_max and self.delivered.covers(start, end):
            self.counts["probes"] += 1
            return None
        repeat = self.sent.overlaps(start, end)
        self.sent.add(start, end)
        self.sent_max = max(self.sent_max, end)
        self.counts["retransmitted" if repeat else "originals"] += 1
        opens = bool(frame.flags & SYN) and not frame.flags & ACK
        return start, end, repeat, opens

    def dropped_segment(self, what):
        repeat = what[2]
        self.counts["retransmitted_dropped" if repeat else "originals_dropped"] += 1

    def delivered_segment(self, what, first_copy):
        start, end, repeat, opens = what
        if not first_copy:
            self.counts["network_duplicates"] += 1
        elif repeat:
            needless = self.delivered.covers(start, end)
            self.counts["needless_delivered"] += needless
            # A SYN whose copies before were all lost: behind the loss nothing can tell.
            self.counts["syn_first_seen"] += opens and not needless
        else:
            self.counts["late_originals"] += start < self.later
            self.later = max(self.later, start)
        self.delivered.add(start, end)


class Ledger:
    """All connections of a run. Sequence numbers must stay within 4 GiB of the first."""

    def __init__(self):
        self.accounts = {}

    def sent(self, frame):
        """Takes a frame as it enters the wire; gives a handle for its fate, or `None`."""
        if frame.protocol != "tcp":
            return None
        key = (frame.source, frame.destination)
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = Account(frame.seq)
        what = account.sent_segment(frame)
        return what and [account, what, True]

    @staticmethod
    def dropped(handle):
        if handle:
            handle[0].dropped_segment(handle[1])

    @staticmethod
    def delivered(handle):
        if handle:
            handle[0].delivered_segment(handle[1], handle[2])
            handle[2] = False

    def summary(self):
        """`{(source, destination): counts}`."""
        return {key: account.counts for key, account in self.accounts.items()}
