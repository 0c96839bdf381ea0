"""Makes the classic pcap files of this folder: one per link type, tunnel and IP detail. Needs scapy 2.6 or later."""
import sys, os, struct
import logging
logging.getLogger('scapy').setLevel(logging.ERROR)
from scapy.all import *
from scapy.layers.inet import *
from scapy.layers.inet6 import *
from scapy.layers.l2 import *
from scapy.layers.vxlan import VXLAN
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '')

def pcap(name, lt, frames, magic=2712847316, big=False, orig=None, snap=65535):
    e = '>' if big else '<'
    with open(OUT + name + '.pcap', 'wb') as f:
        f.write(struct.pack(e + 'IHHiIII', magic, 2, 4, 0, 0, snap, lt))
        for i, b in enumerate(frames):
            b = bytes(b)
            o = orig[i] if orig else len(b)
            f.write(struct.pack(e + 'IIII', 1700000000 + i // 10, i % 10 * 1000, len(b), o) + b)

def conv(v6=False, sp=40000, dp=80, data=b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', isn=1000):
    A, B = ('2001:db8::1', '2001:db8::2') if v6 else ('10.0.0.1', '10.0.0.2')
    I = (lambda s, d: IPv6(src=s, dst=d)) if v6 else lambda s, d: IP(src=s, dst=d, id=7)
    r = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
    L = [I(A, B) / TCP(sport=sp, dport=dp, flags='S', seq=isn, options=[('MSS', 1460)]), I(B, A) / TCP(sport=dp, dport=sp, flags='SA', seq=5000, ack=isn + 1, options=[('MSS', 1460)]), I(A, B) / TCP(sport=sp, dport=dp, flags='A', seq=isn + 1, ack=5001), I(A, B) / TCP(sport=sp, dport=dp, flags='PA', seq=isn + 1, ack=5001) / Raw(data), I(B, A) / TCP(sport=dp, dport=sp, flags='PA', seq=5001, ack=isn + 1 + len(data)) / Raw(r), I(A, B) / TCP(sport=sp, dport=dp, flags='FA', seq=isn + 1 + len(data), ack=5001 + len(r)), I(B, A) / TCP(sport=dp, dport=sp, flags='FA', seq=5001 + len(r), ack=isn + 2 + len(data)), I(A, B) / TCP(sport=sp, dport=dp, flags='A', seq=isn + 2 + len(data), ack=5002 + len(r)), I(A, B) / UDP(sport=5555, dport=7777) / Raw(b'x' * 30), I(B, A) / UDP(sport=7777, dport=5555) / Raw(b'y' * 40)]
    return [bytes(x) for x in L]
c4 = conv()
c6 = conv(True)
both = c4 + c6
et = lambda b: 34525 if b[0] >> 4 == 6 else 2048
E2 = bytes.fromhex('020000000002020000000001')
eth = lambda b: E2 + struct.pack('>H', et(b)) + b
O = lambda inner: bytes(inner)
pcap('eth', 1, [eth(b) for b in both])
for lt in (12, 14, 101):
    pcap(f'raw{lt}', lt, both)
pcap('ipv4_228', 228, c4)
pcap('ipv6_229', 229, c6)
for e in '<>':
    for lt in (0, 108):
        for af6 in (10, 24, 28, 30):
            pcap(f"null{lt}{('le' if e == '<' else 'be')}{af6}", lt, [struct.pack(e + 'I', 2 if b[0] >> 4 == 4 else af6) + b for b in both])
ppp = lambda b: struct.pack('>H', 87 if b[0] >> 4 == 6 else 33) + b
pcap('ppp9', 9, [b'\xff\x03' + ppp(b) for b in both])
pcap('ppp9noac', 9, [ppp(b) for b in both])
pcap('ppp9pfc', 9, [b'\xff\x03' + ppp(b)[1:] for b in both])
pcap('ppp50', 50, [b'\xff\x03' + ppp(b) for b in both])
pcap('chdlc50', 50, [b'\x0f\x00' + struct.pack('>H', et(b)) + b for b in both])
pcap('pppdir204', 204, [bytes([i & 1]) + b'\xff\x03' + ppp(b) for i, b in enumerate(both)])
pcap('pppd166', 166, [bytes([i & 1]) + b'\x03' + ppp(b) for i, b in enumerate(both)])
pcap('pppether51', 51, [b'\x11\x00\x00\x01' + struct.pack('>H', len(b) + 2) + ppp(b) for b in both])
pcap('chdlc104', 104, [b'\x0f\x00' + struct.pack('>H', et(b)) + b for b in both])
pcap('chdlcdir205', 205, [b'\x01\x0f\x00' + struct.pack('>H', et(b)) + b for b in both])
pcap('fr107nlpid', 107, [b'\x18A\x03' + (b'\xcc' if b[0] >> 4 == 4 else b'\x8e') + b for b in both])
pcap('fr107snap', 107, [b'\x18A\x03\x00\x80\x00\x00\x00' + struct.pack('>H', et(b)) + b for b in both])
pcap('fr107cisco', 107, [b'\x18A' + struct.pack('>H', et(b)) + b for b in both])
pcap('frdir206', 206, [b'\x01\x18A\x03' + (b'\xcc' if b[0] >> 4 == 4 else b'\x8e') + b for b in both])
pcap('fr107ethbr', 107, [b'\x18A\x03\x00\x80\x00\x80\xc2\x00\x07' + eth(b) for b in both])
sll = lambda b, ha=1, p=None: struct.pack('>HHH8sH', 0, ha, 6, b'\x02' * 8, p if p is not None else et(b))
pcap('sll113', 113, [sll(b) + b for b in both])
pcap('sll113vlan', 113, [sll(b, 1, 33024) + struct.pack('>HH', 5, et(b)) + b for b in both])
pcap('sll113ppp', 113, [sll(b, 512) + b for b in both])
pcap('sll113gre', 113, [sll(b, 778) + b for b in both])
pcap('sll113none', 113, [sll(b, 65534) + b for b in both])
pcap('sll113p3', 113, [sll(b, 1, 3) + eth(b) for b in both])
pcap('sll113ppphdlc', 113, [sll(b, 512, 7) + b'\xff\x03' + ppp(b) for b in both])
sll2 = lambda b: struct.pack('>HHIHBB8s', et(b), 0, 3, 1, 0, 6, b'\x02' * 8)
pcap('sll2_276', 276, [sll2(b) + b for b in both])
llcsnap = lambda b: b'\xaa\xaa\x03\x00\x00\x00' + struct.pack('>H', et(b))
w = lambda b, fc=b'\x08\x01', q=b'': fc + b'\x00\x00' + b'\x02' * 18 + b'\x00\x00' + q + llcsnap(b) + b
pcap('wlan105', 105, [w(b) for b in both])
pcap('wlan105qos', 105, [w(b, b'\x88\x01', b'\x00\x00') for b in both])
pcap('wlan105wds', 105, [b'\x08\x03\x00\x00' + b'\x02' * 18 + b'\x00\x00' + b'\x02' * 6 + llcsnap(b) + b for b in both])
pcap('wlan105htc', 105, [w(b, b'\x88\x81', b'\x00\x00\x00\x00\x00\x00') for b in both])

def amsdu(bs):
    o = b''
    for i, b in enumerate(bs):
        p = llcsnap(b) + b
        s = b'\x02' * 12 + struct.pack('>H', len(p)) + p
        if i < len(bs) - 1:
            s += b'\x00' * (-len(s) % 4)
        o += s
    return b'\x88\x01\x00\x00' + b'\x02' * 18 + b'\x00\x00' + b'\x80\x00' + o
pcap('wlan105amsdu', 105, [amsdu(both[i:i + 3]) for i in range(0, len(both), 3)])
rt = lambda b: b'\x00\x00\n\x00\x02\x00\x00\x00\x10\x00' + w(b) + b'\xde\xad\xbe\xef'
pcap('radiotap127', 127, [rt(b) for b in both])
rtpad = lambda b: b'\x00\x00\n\x00\x02\x00\x00\x00 \x00' + b'\x88\x01\x00\x00' + b'\x02' * 18 + b'\x00\x00' + b'\x00\x00\x00\x00' + llcsnap(b) + b
pcap('radiotap127pad', 127, [rtpad(b) for b in both])
pcap('prism119', 119, [struct.pack('<II16s', 68, 144, b'wlan0') + b'\x00' * 120 + w(b) for b in both])
pcap('avs163', 163, [struct.pack('>II', 2149650433, 64) + b'\x00' * 56 + w(b) for b in both])
pcap('ppi192eth', 192, [struct.pack('<BBHI', 0, 0, 8, 1) + eth(b) for b in both])
pcap('ppi192wlan', 192, [struct.pack('<BBHI', 0, 0, 8, 105) + w(b) for b in both])
pcap('nflog239', 239, [bytes([2 if b[0] >> 4 == 4 else 10, 0, 0, 1]) + struct.pack('<HH', len(b) + 4, 9) + b + b'\x00' * (-len(b) % 4) for b in both])
pcap('fddi10', 10, [b'P' + b'\x02' * 12 + llcsnap(b) + b for b in both])
pcap('tr6', 6, [b'\x10@' + b'\x02' * 12 + llcsnap(b) + b for b in both])
pcap('tr6rif', 6, [b'\x10@' + b'\x02' * 6 + b'\x82' + b'\x02' * 5 + b'\x060\x00\x11\x00 ' + llcsnap(b) + b for b in both])
pcap('atm100', 100, [llcsnap(b) + b for b in both])
pcap('atm100br', 100, [b'\xaa\xaa\x03\x00\x80\xc2\x00\x07\x00\x00' + eth(b) for b in both])
pcap('clip106', 106, [b for b in c4])
pcap('clip106llc', 106, [llcsnap(b) + b for b in both])
pcap('sunatm123llc', 123, [b'\x82\x00\x00d' + llcsnap(b) + b for b in both])
pcap('enc109', 109, [struct.pack('<III', 2 if b[0] >> 4 == 4 else 24, 0, 0) + b for b in both])
pcap('enc109be', 109, [struct.pack('>III', 2 if b[0] >> 4 == 4 else 24, 0, 0) + b for b in both])
pcap('ipoib242', 242, [b'\x02' * 40 + struct.pack('>HH', et(b), 0) + b for b in both])
pcap('pflog117', 117, [struct.pack('BBBB', 61, 2 if b[0] >> 4 == 4 else 24, 0, 0) + b'em0'.ljust(16, b'\x00') + b'\x00' * 16 + b'\x00' * 8 + b'\x00' * 16 + b'\x01\x00\x00\x00' + b for b in both])
pcap('erf197', 197, [struct.pack('<QBBHHH', 0, 2, 4, len(eth(b)) + 18, 0, 0)[:8] + struct.pack('>BBHHH', 2, 4, len(eth(b)) + 18, 0, len(eth(b))) + b'\x00\x00' + eth(b) for b in both])
pcap('bsdslip8', 8, [b'\x00' + b'\x00' * 15 + b for b in both])
pcap('ap1394_138', 138, [b'\x02' * 16 + struct.pack('>H', et(b)) + b for b in both])
pcap('ipfc122', 122, [b'\x02' * 16 + llcsnap(b) + b for b in both])
pcap('pktap258', 258, [struct.pack('<III24sIIHH', 108, 1, 1, b'en0', 0, 2, 0, 0).ljust(108, b'\x00') + eth(b) for b in both])
pcap('pktap149', 149, [struct.pack('<III24sIIHH', 108, 1, 1, b'en0', 0, 2, 0, 0).ljust(108, b'\x00') + eth(b) for b in both])
for n, lt, h in (('ether', 178, b'MGC\x00'), ('ether_noL2', 178, b'MGC\x02\x00\x00\x00\x02')):
    pcap('junip_' + n, lt, [h + (eth(b) if n == 'ether' else b) for b in c4])
for lt, wrap in ((130, None), (131, None), (133, None), (135, None), (137, None), (167, None), (183, None), (194, None), (174, None)):
    pcap(f'junip{lt}noL2', lt, [b'MGC\x02\x00\x00\x00\x02' + b for b in c4])
pcap('docsis143', 143, [b'\x00\x00' + struct.pack('>H', len(eth(b)) + 4) + b'\x00\x00' + eth(b) + b'\x00' * 4 for b in both])
pcap('mpacket274', 274, [b'U' * 7 + b'\xd5' + eth(b) for b in both])
pcap('netanalyzer240', 240, [b'\x00\x00\x00\x00' + eth(b) + b'\x00' * 4 for b in both])
pcap('wattstopper', 9999, c4)
pcap('usb189', 189, c4)
pcap('lapd', 203, c4)
pcap('vpp', 280, c4)
pcap('sita', 196, c4)
pcap('enc_iscan', 147, [eth(b) for b in both])
pcap('upperpdu252', 252, [struct.pack('>HH', 12, 2) + b'ip' + struct.pack('>HH', 0, 0) + b for b in c4])
pcap('upperpdu252tcp', 252, [struct.pack('>HH4s', 12, 4, b'ip\x00\x00') + struct.pack('>HH', 0, 0) + b for b in c4])
pcap('eth_fcs', 1409286145 - 268435456 + 268435456 if 0 else 1 | 67108864 | 2 << 28, [eth(b) + b'\xde\xad\xbe\xef' for b in both])
pcap('eth_hi', 1 | 5 << 16, [eth(b) for b in both])
for n, m, big in (('us_be', 2712847316, True), ('ns_le', 2712812621, False), ('ns_be', 2712812621, True)):
    pcap('magic_' + n, 1, [eth(b) for b in both], m, big)

def modpcap(name, big, extra, magic=2712849716):
    e = '>' if big else '<'
    with open(OUT + name + '.pcap', 'wb') as f:
        f.write(struct.pack(e + 'IHHiIII', magic, 2, 4, 0, 0, 65535, 1))
        for i, b in enumerate(map(eth, both)):
            f.write(struct.pack(e + 'IIII', 1700000000 + i, 5, len(b), len(b)) + struct.pack(e + 'IHBB', 2, et(b), 0, 0)[:8] + (b'\x00' * 4 if extra else b'') + b)
modpcap('mod_le', False, False)
modpcap('mod_be', True, False)
modpcap('mod28_le', False, True)

def ixia(name, m, big):
    e = '>' if big else '<'
    with open(OUT + name + '.pcap', 'wb') as f:
        body = b''.join((struct.pack(e + 'IIII', 1700000000 + i, 5, len(b), len(b)) + b for i, b in enumerate(map(eth, both))))
        f.write(struct.pack(e + 'IHHiIII', m, 2, 4, 0, 0, 65535, 1) + struct.pack(e + 'I', len(body)) + body)
for n, m in (('ixia_hw', 469762476), ('ixia_sw', 469762475)):
    ixia(n + '_le', m, False)
    ixia(n + '_be', m, True)
V = lambda b, *tags: E2 + b''.join((struct.pack('>HH', t, 7 + i) for i, t in enumerate(tags))) + struct.pack('>H', et(b)) + b
pcap('vlan', 1, [V(b, 33024) for b in both])
pcap('qinq', 1, [V(b, 34984, 33024) for b in both])
pcap('vlan9100', 1, [V(b, 37120, 33024) for b in both])
pcap('vlan9200', 1, [V(b, 37376) for b in both])
pcap('vlan5', 1, [V(b, *[33024] * 5) for b in both])
pcap('pbb', 1, [E2 + b'\x88\xe7' + b'\x00\x00\x00\x05' + eth(b) for b in both])
pcap('vntag', 1, [E2 + b'\x89&' + b'\x00\x00\x00\x00' + struct.pack('>H', et(b)) + b for b in both])
pcap('cmd8909', 1, [E2 + b'\x89\t\x01\x01\x00\x01\x00\x05' + struct.pack('>H', et(b)) + b for b in both])
pcap('hsr', 1, [E2 + b'\x89/' + struct.pack('>HH', 0 | len(b) + 6, i) + struct.pack('>H', et(b)) + b for i, b in enumerate(both)])
pcap('prp88fb', 1, [eth(b) + struct.pack('>HHH', i, 40960 | len(b) + 6, 35067) for i, b in enumerate(both)])
pcap('trill', 1, [E2 + b'"\xf3\x00?\x00\x01\x00\x02' + eth(b) for b in both])
pcap('fabricpath', 1, [E2 + b'\x89\x03\x00A' + eth(b) for b in both])
pcap('isl', 1, [b'\x01\x00\x0c\x00\x00\x00' + b'\x02' * 6 + struct.pack('>H', len(eth(b)) + 12) + b'\xaa\xaa\x03\x00\x00\x0c\x00\n\x00\x00\x00\x00' + eth(b) + b'\x00' * 4 for b in both])
pcap('llcsnap', 1, [E2 + struct.pack('>H', len(b) + 8) + llcsnap(b) + b for b in both])
pcap('llcip', 1, [E2 + struct.pack('>H', len(b) + 3) + b'\x06\x06\x03' + b for b in c4])
pcap('jumbo8870', 1, [E2 + b'\x88p' + llcsnap(b) + b for b in both])
pcap('pppoe', 1, [E2 + b'\x88d\x11\x00\x00\x01' + struct.pack('>H', len(b) + 2) + ppp(b) for b in both])
M = lambda l, s: struct.pack('>I', l << 12 | s << 8 | 64)
pcap('mpls', 1, [E2 + b'\x88G' + M(100, 0) + M(101, 1) + b for b in both])
pcap('mplspw', 1, [E2 + b'\x88G' + M(100, 1) + eth(b) for b in both])
pcap('mplspwcw', 1, [E2 + b'\x88G' + M(100, 1) + b'\x00\x00\x00\x00' + eth(b) for b in both])
pcap('mplsexpnull', 1, [E2 + b'\x88G' + M(0 if b[0] >> 4 == 4 else 2, 1) + b for b in both])
pcap('nsh', 1, [E2 + b'\x89O' + bytes([15, 194, 2, 1 if b[0] >> 4 == 4 else 2]) + b'\x00\x00\x01\xff' + b for b in both])
pcap('nsheth', 1, [E2 + b'\x89O' + bytes([15, 194, 2, 3]) + b'\x00\x00\x01\xff' + eth(b) for b in both])
pcap('dsa_brcm281', 281, [b'\x02' * 12 + b'\x00\x00\x00\x00' + struct.pack('>H', et(b)) + b for b in c4])
pcap('macsec', 1, [E2 + b'\x88\xe5' + b'\x00' * 40 for b in c4])
pcap('realtek8899', 1, [E2 + b'\x88\x99\xa0\x00' + struct.pack('>H', et(b)) + b for b in c4])
o4 = lambda p, proto, sw=False: bytes(IP(src='192.0.2.1' if not sw else '192.0.2.2', dst='192.0.2.2' if not sw else '192.0.2.1', proto=proto) / Raw(p))
o6 = lambda p, nh: bytes(IPv6(src='2001:db8:ffff::1', dst='2001:db8:ffff::2', nh=nh) / Raw(p))
pcap('ipip', 1, [eth(o4(b, 4 if b[0] >> 4 == 4 else 41)) for b in both])
pcap('ip6ip', 1, [eth(o6(b, 4 if b[0] >> 4 == 4 else 41)) for b in both])
pcap('ipip94', 1, [eth(o4(b, 94)) for b in c4])
pcap('ipmin55', 1, [eth(o4(b, 55)) for b in c4])
pcap('gre', 1, [eth(o4(struct.pack('>HH', 0, et(b)) + b, 47)) for b in both])
pcap('gre_ck', 1, [eth(o4(struct.pack('>HHHHII', 45056, et(b), 0, 0, 5, i) + b, 47)) for i, b in enumerate(both)])
pcap('greteb', 1, [eth(o4(struct.pack('>HH', 0, 25944) + eth(b), 47)) for b in both])
pcap('nvgre', 1, [eth(o4(struct.pack('>HHI', 8192, 25944, 1192960) + eth(b), 47)) for b in both])
pcap('grewccp', 1, [eth(o4(struct.pack('>HHI', 0, 34878, 16909060) + b, 47)) for b in c4])
pcap('grewccp_noredir', 1, [eth(o4(struct.pack('>HH', 0, 34878) + b, 47)) for b in c4])
pcap('pptp', 1, [eth(o4(struct.pack('>HHHHII', 12417, 34827, len(ppp(b)) + 2, 9, i, i) + b'\xff\x03' + ppp(b), 47)) for i, b in enumerate(both)])
pcap('erspan1', 1, [eth(o4(struct.pack('>HH', 0, 35006) + eth(b), 47)) for b in both])
pcap('erspan2', 1, [eth(o4(struct.pack('>HHI', 4096, 35006, i) + b'\x10\x01\x00\x01\x00\x00\x00\x00' + eth(b), 47)) for i, b in enumerate(both)])
pcap('erspan3', 1, [eth(o4(struct.pack('>HHI', 4096, 8939, i) + b' \x01\x00\x01' + b'\x00' * 4 + b'\x00\x00\x00\x00' + eth(b), 47)) for i, b in enumerate(both)])
pcap('erspan3p', 1, [eth(o4(struct.pack('>HHI', 4096, 8939, i) + b' \x01\x00\x01' + b'\x00' * 4 + b'\x00\x00\x00\x01' + b'\x00' * 8 + eth(b), 47)) for i, b in enumerate(both)])
pcap('grempls', 1, [eth(o4(struct.pack('>HH', 0, 34887) + M(100, 1) + b, 47)) for b in both])
pcap('gre6', 1, [eth(o6(struct.pack('>HH', 0, et(b)) + b, 47)) for b in both])
pcap('grenhrp_keepalive', 1, [eth(o4(struct.pack('>HH', 0, 2048) + o4(struct.pack('>HH', 0, 0), 47), 47))] + [eth(b) for b in both])
pcap('etherip97', 1, [eth(o4(b'0\x00' + eth(b), 97)) for b in both])
pcap('mplsip137', 1, [eth(o4(M(5, 1) + b, 137)) for b in both])
pcap('eth143', 1, [eth(o6(eth(b), 143)) for b in both])
pcap('ah51', 1, [eth(o4(bytes([4 if b[0] >> 4 == 4 else 41, 4, 0, 0]) + b'\x00' * 20 + b, 51)) for b in both])
ahtr = []
for b in c4:
    p = IP(b)
    pl = bytes(p.payload)
    pr = p.proto
    p = IP(src=p.src, dst=p.dst, proto=51) / Raw(bytes([pr, 4, 0, 0]) + b'\x00' * 20 + pl)
    ahtr.append(eth(bytes(p)))
pcap('ahtransport', 1, ahtr)
U = lambda p, dp, sp=50000: bytes(IP(src='192.0.2.1', dst='192.0.2.2') / UDP(sport=sp, dport=dp) / Raw(p))
pcap('espnull', 1, [eth(o4(struct.pack('>II', 1, i) + b + b'\x01\x02\x02\x04' + b'\x00' * 12, 50)) for i, b in enumerate(c4)])
for port in (4789, 8472):
    pcap(f'vxlan{port}', 1, [eth(U(b'\x08\x00\x00\x00\x00\x00d\x00' + eth(b), port)) for b in both])
pcap('vxlangpe', 1, [eth(U(struct.pack('>BBBBI', 12, 0, 0, 1 if b[0] >> 4 == 4 else 2, 25600) + b, 4790)) for b in both])
pcap('vxlangbp', 1, [eth(U(b'\x88\x00\x00\x05\x00\x00d\x00' + eth(b), 4789)) for b in both])
pcap('geneve', 1, [eth(U(b'\x00\x00eX\x00\x00d\x00' + eth(b), 6081)) for b in both])
pcap('geneveopt', 1, [eth(U(b'\x02\x00eX\x00\x00d\x00' + b'\x01\x02\x03\x01\x00\x00\x00\x00' + eth(b), 6081)) for b in both])
pcap('geneveip', 1, [eth(U(struct.pack('>BBH', 0, 0, et(b)) + b'\x00\x00d\x00' + b, 6081)) for b in both])
pcap('gtpu', 1, [eth(U(struct.pack('>BBHI', 48, 255, len(b), 77) + b, 2152)) for b in both])
pcap('gtpuext', 1, [eth(U(struct.pack('>BBHI', 52, 255, len(b) + 8, 77) + b'\x00\x00\x00\x85\x01\x00\x00\x00' + b, 2152)) for b in both])
pcap('gtpuseq', 1, [eth(U(struct.pack('>BBHI', 50, 255, len(b) + 4, 77) + b'\x00\x01\x00\x00' + b, 2152)) for b in both])
pcap('gtpv0', 1, [eth(U(struct.pack('>BBHHH', 30, 255, len(b), 1, 1) + b'\xff\xff\xff\xff' + b'\x00' * 8 + b, 3386)) for b in both])
pcap('l2tpv2', 1, [eth(U(struct.pack('>HHHH', 16386, len(b) + 8 + 4, 1, 2) + b'\xff\x03' + ppp(b), 1701)) for b in both])
pcap('l2tpv2off', 1, [eth(U(struct.pack('>HHHH', 514, 1, 2, 0) + b'\xff\x03' + ppp(b), 1701)) for b in both])
pcap('l2tpv3ip', 1, [eth(o4(struct.pack('>I', 5) + eth(b), 115)) for b in both])
pcap('l2tpv3udp', 1, [eth(U(struct.pack('>HHI', 3, 0, 5) + eth(b), 1701)) for b in both])
pcap('teredo', 1, [eth(U(b, 3544)) for b in c6])
pcap('teredoauth', 1, [eth(U(b'\x00\x01\x00\x00' + b'\x00' * 9 + b'\x00\x00\x01\x02\x03\x04\x05\x06' + b, 3544)) for b in c6])
pcap('mplsudp', 1, [eth(U(M(5, 1) + b, 6635)) for b in both])
pcap('lisp4341', 1, [eth(U(b'\x80\x00\x00\x01\x00\x00\x00\x00' + b, 4341)) for b in both])
pcap('lisp4341b', 1, [eth(U(b'\x00\x00\x00\x00\x00\x00\x00\x00' + b, 4341)) for b in both])
pcap('tzsp', 1, [eth(U(b'\x01\x00\x00\x01\x01' + eth(b), 37008)) for b in both])
pcap('ayiya5072', 1, [eth(U(b'DR\x11)' + b'\x00' * 4 + b'\x00' * 16 + b'\x00' * 20 + b, 5072)) for b in c6])
wl = lambda b: w(b)
pcap('capwap5247', 1, [eth(U(b'\x00\x10\x02\x00\x00\x00\x00\x00' + w(b), 5247)) for b in both])
pcap('capwap5247t', 1, [eth(U(b'\x00\x10\x03\x00\x00\x00\x00\x00' + w(b), 5247)) for b in both])
pcap('capwapsw', 1, [eth(U(b'\x00\x10\x02\x00\x00\x00\x00\x00' + b'\x01\x08' + w(b)[2:], 5247)) for b in both])
pcap('capwap8023', 1, [eth(U(b'\x00\x10\x00\x00\x00\x00\x00\x00' + eth(b), 5247)) for b in both])
pcap('lwapp12222', 1, [eth(U(struct.pack('>BBHH', 0, 0, len(w(b)), 0) + b'\x01\x08' + w(b)[2:], 12222)) for b in both])
pcap('nshudp6633', 1, [eth(U(bytes([15, 194, 2, 3]) + b'\x00\x00\x01\xff' + eth(b), 6633)) for b in both])
pcap('gue6080', 1, [eth(U(bytes([0, 4 if b[0] >> 4 == 4 else 41, 0, 0]) + b, 6080)) for b in both])
pcap('fou5555', 1, [eth(U(b, 15555)) for b in both])
pcap('udpenc4500esp', 1, [eth(U(b'\x00\x00\x00\x01' + b'\x00' * 40, 4500))] * 3)
pcap('openvpn', 1, [eth(U(b'0' + b, 1194)) for b in both])
pcap('bfd3784', 1, [eth(U(b' \xc0\x03\x18' + b'\x00' * 20, 3784))])
pcap('cflow_hex', 1, [eth(U(b'\x00\x05\x00\x00', 2055))])
pcap('ppp_mux', 9, [b'\xff\x03\x00Y' + b'\x80' + bytes([len(b) + 2 if len(b) < 60 else 60]) + ppp(b) for b in c4[:1]])
pcap('mlppp', 9, [b'\xff\x03\x00=\xc0\x00\x00' + bytes([i]) + ppp(b) for i, b in enumerate(both)])
pad = [eth(b).ljust(60, b'\x00') for b in both]
pcap('padded', 1, pad)

def tl0(b):
    b = bytearray(b)
    if b[0] >> 4 == 4:
        b[2:4] = b'\x00\x00'
        b[10:12] = b'\x00\x00'
    else:
        b[4:6] = b'\x00\x00'
    return bytes(b)
big = conv(data=b'Z' * 3000)
big6 = conv(True, data=b'Z' * 3000)
pcap('tso0', 1, [eth(tl0(b)) if len(b) > 1000 else eth(b) for b in big])
pcap('tso0all', 1, [eth(tl0(b)) for b in c4])
pcap('tso0allpad', 1, [eth(tl0(b)).ljust(60, b'\x00') for b in c4])
pcap('tso0raw', 101, [tl0(b) for b in c4])
pcap('tso06', 1, [eth(tl0(b)) if len(b) > 1000 else eth(b) for b in big6])
fr = []
for b in big:
    p = IP(b)
    for f in fragment(p, fragsize=800) if len(b) > 1000 else [p]:
        fr.append(eth(bytes(f)))
pcap('frag4', 1, fr)
pcap('frag4rev', 1, fr[:3] + fr[3:7][::-1] + fr[7:])
pcap('frag4dup', 1, [x for f in fr for x in (f, f)])
pcap('frag4missing', 1, fr[:4] + fr[5:])
fr6 = []
for b in big6:
    p = IPv6(b)
    if len(b) > 1000:
        pl = bytes(p.payload)
        for o in range(0, len(pl), 1200):
            ch = pl[o:o + 1200]
            m = o + 1200 < len(pl)
            fr6.append(eth(bytes(IPv6(src=p.src, dst=p.dst, nh=44) / Raw(struct.pack('>BBHI', 6, 0, o | (1 if m else 0), 99) + ch))))
    else:
        fr6.append(eth(b))
pcap('frag6', 1, fr6)
ex = []
for b in c6:
    p = IPv6(b)
    nh = p.nh
    pl = bytes(p.payload)
    ex.append(eth(bytes(IPv6(src=p.src, dst=p.dst, nh=0) / Raw(bytes([60, 0, 5, 2, 0, 0, 1, 0]) + bytes([nh, 0, 1, 4, 0, 0, 0, 0]) + pl))))
pcap('ext6', 1, ex)
rh = []
for b in c6:
    p = IPv6(b)
    nh = p.nh
    pl = bytes(p.payload)
    rh.append(eth(bytes(IPv6(src=p.src, dst='2001:db8::99', nh=43) / Raw(bytes([nh, 2, 0, 1, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, p.dst) + pl))))
pcap('rh0', 1, rh)
srh = []
for b in c6:
    p = IPv6(b)
    nh = p.nh
    pl = bytes(p.payload)
    srh.append(eth(bytes(IPv6(src=p.src, dst='2001:db8::99', nh=43) / Raw(bytes([nh, 4, 4, 1, 1, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, p.dst) + socket.inet_pton(socket.AF_INET6, '2001:db8::99') + pl))))
pcap('srh', 1, srh)
pcap('ipopts', 1, [eth(bytes(IP(src=IP(b).src, dst=IP(b).dst, options=[IPOption(b'\x94\x04\x00\x00')], proto=IP(b).proto) / Raw(bytes(IP(b).payload)))) for b in c4])
pcap('lsrr', 1, [eth(bytes(IP(src=IP(b).src, dst='10.9.9.9', options=[IPOption_LSRR(pointer=4, routers=[IP(b).dst])], proto=IP(b).proto) / Raw(bytes(IP(b).payload)))) for b in c4])
icmp = [eth(b) for b in c4] + [eth(bytes(IP(src='10.0.0.254', dst='10.0.0.1') / ICMP(type=3, code=4) / Raw(c4[3][:28]))), eth(bytes(IP(src='10.0.0.254', dst='10.0.0.1') / ICMP(type=11) / Raw(bytes(IP(src='10.0.0.1', dst='10.0.0.9') / TCP(sport=1, dport=2)))))]
pcap('icmp', 1, icmp)
for s in (34, 38, 46, 48, 50, 54, 60, 66, 80):
    pcap(f'snap{s}', 1, [eth(b)[:s] for b in both], orig=[len(eth(b)) for b in both], snap=s)

def reuse(gap, second):
    return None
c1 = conv(isn=1000)
c2 = conv(isn=900000)
pcap('reuse_close', 1, [eth(b) for b in c1 + c2])
pcap('reuse_noclose', 1, [eth(b) for b in c1[:5] + c2])
pcap('reuse_sameisn_afterfin', 1, [eth(b) for b in c1 + c1])
pcap('synretrans', 1, [eth(b) for b in [c1[0]] * 3 + c1[1:]])
pcap('reuse_syn2diff', 1, [eth(c1[0]), eth(c2[0])] + [eth(b) for b in c2[1:]])
pcap('dupframes', 1, [x for b in c1 for x in (eth(b), eth(b))])
pcap('midstream', 1, [eth(b) for b in c1[3:]])
pcap('synack_only', 1, [eth(c1[1])])
rst = bytes(IP(src='10.0.0.2', dst='10.0.0.1') / TCP(sport=80, dport=40000, flags='RA', seq=0, ack=1001))
syn = c1[0]
pcap('rst_sameisn', 1, [eth(x) for x in [syn, rst, syn, rst, syn, rst]])
pcap('rst_diffisn', 1, [eth(x) for x in [c1[0], rst, c2[0], rst]])
sa2 = bytes(IP(src='10.0.0.2', dst='10.0.0.1') / TCP(sport=80, dport=40000, flags='SA', seq=777777, ack=1001))
pcap('synack_diff', 1, [eth(x) for x in c1[:2] + [sa2] + c1[2:]])
simul = [bytes(IP(src='10.0.0.1', dst='10.0.0.2') / TCP(sport=1, dport=2, flags='S', seq=1)), bytes(IP(src='10.0.0.2', dst='10.0.0.1') / TCP(sport=2, dport=1, flags='S', seq=9))]
pcap('simopen', 1, [eth(x) for x in simul])
pcap('afterfin_data', 1, [eth(b) for b in c1 + c1[3:5]])
pcap('port0', 1, [eth(b) for b in conv(sp=0, dp=0)])
pcap('selfconn', 1, [eth(bytes(IP(src='10.0.0.1', dst='10.0.0.1') / TCP(sport=5, dport=5, flags=f, seq=1) / Raw(b'abc'))) for f in ('S', 'SA', 'PA')])
pcap('sameip', 1, [eth(bytes(IP(src='10.0.0.1', dst='10.0.0.1') / TCP(sport=s, dport=d, flags=f, seq=1) / Raw(b'abc'))) for s, d, f in ((5, 6, 'S'), (6, 5, 'SA'), (5, 6, 'PA'))])
badoff = []
for off in (0, 4, 6, 15):
    t = bytearray(bytes(TCP(sport=1, dport=2) / Raw(b'abc')))
    t[12] = off << 4
    badoff.append(eth(bytes(IP(src='1.1.1.1', dst='2.2.2.2', proto=6) / Raw(bytes(t)))))
pcap('badoff', 1, badoff)
pcap('tcpshort', 1, [eth(bytes(IP(src='1.1.1.1', dst='2.2.2.2', proto=6) / Raw(b'\x00\x01\x00\x02' + b'\x00' * n))) for n in (0, 4, 8, 10, 12, 15)])
x = bytearray(eth(c4[3]))
x[16:18] = b'\xff\xff'
y = bytearray(eth(c4[3]))
y[16:18] = b'\x00\x18'
z = bytearray(eth(c4[3]))
z[14] = 68
v = bytearray(eth(c4[3]))
v[14] = 79
u = bytearray(eth(c4[3]))
u[14] = 85
pcap('ipbad', 1, [bytes(x), bytes(y), bytes(z), bytes(v), bytes(u)])
x = bytearray(eth(c6[3]))
x[18:20] = b'\xff\xff'
pcap('ip6bad', 1, [bytes(x)])
ub = bytearray(eth(c4[8]))
ub[38:40] = b'\x00\x03'
uc = bytearray(eth(c4[8]))
uc[38:40] = b'\xff\xff'
ud = bytearray(eth(c4[8]))
ud[38:40] = b'\x00\x00'
pcap('udpbad', 1, [bytes(ub), bytes(uc), bytes(ud)])
# What kernels and appliances write that has no captures above.
pcap('nflog239be', 239, [bytes([2 if b[0] >> 4 == 4 else 10, 0, 0, 1]) + struct.pack('>HH', len(b) + 4, 9) + b + b'\x00' * (-len(b) % 4) for b in both], big=True)
ipnet = lambda b, v6: struct.pack('>BBHIIIII', 1, v6 if b[0] >> 4 == 6 else 2, 4, len(b), 1, 0, 0, 0) + b
pcap('ipnet226', 226, [ipnet(b, 26) for b in both])
pcap('pppmpls9', 9, [b'\xff\x03\x02\x81' + M(100, 1) + b for b in both])
pcap('pppbridged9', 9, [b'\xff\x03\x00\x31\x00\x01' + eth(b) for b in both])
tlv = lambda kind, value: struct.pack('>HBB', 0x0108, kind, len(value) // 4) + value
options = tlv(1, b'\x01' * 8) + tlv(2, b'\x02' * 8) + tlv(3, b'\x03' * 4)
pcap('genevegwlb', 1, [eth(U(struct.pack('>BBH', len(options) // 4, 0, et(b)) + b'\x00\x00\x00\x00' + options + b, 6081)) for b in both])
pcap('wireguard', 1, [eth(U(bytes([kind, 0, 0, 0]) + b'\x55' * (size - 4), 51820)) for kind, size in ((1, 148), (2, 92), (3, 64), (4, 32), (4, 96), (4, 1424))])
pcap('esp', 1, [eth(o4(struct.pack('>II', 1, i) + b'\x55' * 64, 50)) for i in range(4)] + [eth(o6(struct.pack('>II', 2, i) + b'\x55' * 64, 50)) for i in range(4)])
pcap('usb189', 189, [struct.pack('<QBBBBHBBqiiII8s', 1, 83, 3, 129, 5, 1, 45, 0, 1700000000, i, -115, 0, 0, bytes(8)) for i in range(4)])
jumbo = bytearray(c6[3])
jumbo[4:7] = b'\x00\x00\x00'
jumbo = bytes(jumbo[:40]) + bytes([6, 0, 0xc2, 4]) + struct.pack('>I', 8 + 20 + 70000) + bytes(jumbo[40:60]) + b'Z' * 70000
snapped = [b[:200] for b in [eth(b) for b in c6[:3]] + [eth(jumbo)]]
pcap('jumbogram', 1, snapped, orig=[len(eth(b)) for b in c6[:3]] + [len(eth(jumbo))], snap=200)
pcap('deepvlan', 1, [V(b, *[33024] * 20) for b in c4])
deep = lambda b, n: b if n == 0 else o4(deep(b, n - 1), 4)
pcap('deepipip', 1, [eth(deep(b, 20)) for b in c4])

def snoop(name, data_link, frames):
    with open(OUT + name + '.snoop', 'wb') as f:
        f.write(b'snoop\x00\x00\x00' + struct.pack('>II', 2, data_link))
        for i, b in enumerate(frames):
            pad = -len(b) % 4
            f.write(struct.pack('>IIIIII', len(b), len(b), 24 + len(b) + pad, 0, 1700000000 + i, 5) + b + bytes(pad))
snoop('eth4', 4, [eth(b) for b in both])
snoop('ipnet25', 25, [ipnet(b, 26) for b in both])

# Compressed in two parts each, as log rotation and parallel compressors leave them.
import bz2, gzip, lzma, subprocess
whole = open(OUT + 'eth.pcap', 'rb').read()
parts = whole[:700], whole[700:]
run = lambda *command: lambda part: subprocess.run(command, input=part, capture_output=True, check=True).stdout
for suffix, compress in (('gz', lambda part: gzip.compress(part, mtime=0)), ('bz2', bz2.compress), ('xz', lzma.compress), ('zst', run('zstd', '-c')), ('lz4', run('lz4', '-c'))):
    with open(OUT + 'eth.pcap.' + suffix, 'wb') as f:
        f.write(b''.join(map(compress, parts)))
