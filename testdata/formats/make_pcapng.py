"""Makes the pcapng files of this folder, from the packets of eth.pcap: one per block type, option and fault."""
import struct, os
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '')
fr = []
d = open(OUT + 'eth.pcap', 'rb').read()
o = 24
while o < len(d):
    n = struct.unpack('<I', d[o + 8:o + 12])[0]
    fr.append(d[o + 16:o + 16 + n])
    o += 16 + n

def blk(t, body, e='<', pad=True):
    if pad:
        body += b'\x00' * (-len(body) % 4)
    L = len(body) + 12
    return struct.pack(e + 'II', t, L) + body + struct.pack(e + 'I', L)

def opt(c, v, e='<'):
    return struct.pack(e + 'HH', c, len(v)) + v + b'\x00' * (-len(v) % 4)
END = b'\x00' * 4

def shb(e='<', ver=(1, 0), opts=b'', ln=-1):
    return blk(168627466, struct.pack(e + 'IHHq', 439041101, *ver, ln) + opts, e)

def idb(lt=1, snap=0, opts=b'', e='<'):
    return blk(1, struct.pack(e + 'HHI', lt, 0, snap) + opts, e)

def epb(b, i=0, t=1700000000000000, opts=b'', e='<', cap=None, orig=None):
    return blk(6, struct.pack(e + 'IIIII', i, t >> 32, t & 4294967295, len(b) if cap is None else cap, len(b) if orig is None else orig) + b + b'\x00' * (-len(b) % 4) + opts, e)

def spb(b, e='<', orig=None):
    return blk(3, struct.pack(e + 'I', len(b) if orig is None else orig) + b, e)

def opb(b, i=0, t=1700000000000000, e='<', opts=b''):
    return blk(2, struct.pack(e + 'HHIIII', i, 65535, t >> 32, t & 4294967295, len(b), len(b)) + b + b'\x00' * (-len(b) % 4) + opts, e)

def w(n, *bs):
    open(OUT + n + '.pcapng', 'wb').write(b''.join(bs))
E = [epb(b, t=1700000000000000 + i * 1000) for i, b in enumerate(fr)]
w('plain', shb(), idb(), *E)
w('be', shb('>'), idb(e='>'), *[epb(b, e='>') for b in fr])
w('twosec', shb(), idb(), *E[:10], shb('>'), idb(e='>'), *[epb(b, e='>') for b in fr[10:]])
w('tsresol9', shb(), idb(opts=opt(9, b'\t') + END), *[epb(b, t=1700000000 * 10 ** 9 + i) for i, b in enumerate(fr)])
w('tsresolbin', shb(), idb(opts=opt(9, b'\x94') + END), *[epb(b, t=1700000000 << 20) for i, b in enumerate(fr)])
for r in (0, 19, 20, 127, 128, 191, 192, 255):
    w(f'tsresol{r:02x}', shb(), idb(opts=opt(9, bytes([r])) + END), *[epb(b, t=1700000000 + i) for i, b in enumerate(fr)])
w('tsoffset', shb(), idb(opts=opt(14, struct.pack('<q', 1600000000)) + END), *[epb(b, t=i) for i, b in enumerate(fr)])
w('tsoffsetneg', shb(), idb(opts=opt(14, struct.pack('<q', -100)) + END), *E)
w('spb', shb(), idb(snap=65535), *[spb(b) for b in fr])
w('spbsnap', shb(), idb(snap=60), *[spb(b[:60], orig=len(b)) for b in fr])
w('spbnosnap', shb(), idb(), *[spb(b) for b in fr])
w('opb', shb(), idb(), *[opb(b) for b in fr])
w('nrb', shb(), idb(), E[0], blk(4, struct.pack('<HH', 1, 9) + bytes([10, 0, 0, 1]) + b'host\x00' + b'\x00' * 3 + struct.pack('<HH', 0, 0)), *E[1:])
w('isb', shb(), idb(), *E, blk(5, struct.pack('<III', 0, 1, 2) + opt(5, struct.pack('<Q', 7)) + opt(4, struct.pack('<Q', 50)) + END))
w('dsb', shb(), idb(), blk(10, struct.pack('<II', 1414288203, 12) + b'CLIENT_RANDO'), *E)
w('custom', shb(), idb(), blk(2989, struct.pack('<I', 1) + b'hello'), *E[:5], blk(1073744813, struct.pack('<I', 1) + b'hello!!!'), *E[5:])
w('custom_short', shb(), idb(), blk(2989, b''), *E)
w('unknown', shb(), idb(), blk(4660, b'abcd'), blk(2147483649, b'xxxxxxxx'), *E)
w('journal', shb(), idb(), blk(9, b'__REALTIME_TIMESTAMP=1700000000000000\nMESSAGE=hi\n'), *E)
w('journal_bad', shb(), idb(), blk(9, b'hi'), *E)
for t in (513, 514, 515, 516, 517, 518, 519, 520, 521, 522, 528, 530, 531, 532, 533, 534, 535, 544, 545, 546, 547, 548):
    w(f'sys{t:x}', shb(), idb(), blk(t, struct.pack('<HQQIHI', 0, 1700000000, 5, 26, 3, 0) + b'\x00' * 12), *E[:3])
w('comment', shb(opts=opt(1, b'section') + END), idb(opts=opt(1, b'if') + opt(2, b'eth0') + END), epb(fr[0], opts=opt(1, b'pkt') + opt(2, b'\x00\x00\x00\x01') + END), *E[1:])
w('optnoend', shb(), idb(opts=opt(2, b'eth0')), *E)
w('optbad', shb(), idb(opts=struct.pack('<HH', 2, 9999) + b'eth0'), *E)
w('epboptbad', shb(), idb(), epb(fr[0], opts=struct.pack('<HH', 1, 9999) + b'eth0'), *E[1:])
w('epbopttrail', shb(), idb(), epb(fr[0], opts=b'\x01\x00'), *E[1:])
w('tsresolbadlen', shb(), idb(opts=opt(9, b'\x06\x06') + END), *E)
w('fcslen', shb(), idb(opts=opt(13, b'\x04') + END), *[epb(b + b'\xde\xad\xbe\xef') for b in fr])
w('noidb', shb(), *E[:3])
w('badif', shb(), idb(), E[0], epb(fr[1], i=7), *E[2:])
w('badif_isb', shb(), idb(), E[0], blk(5, struct.pack('<III', 9, 1, 2)), *E[1:])
w('spbnoidb', shb(), spb(fr[0]))
w('caporig', shb(), idb(), epb(fr[0], orig=10), *E[1:])
w('capbig', shb(), idb(), E[0], epb(fr[1], cap=9999), *E[2:])
w('origzero', shb(), idb(), epb(fr[0], orig=0), *E[1:])
w('seclen', shb(ln=4000000), idb(), *E)
w('seclen0', shb(ln=0), idb(), *E)
w('ver12', shb(ver=(1, 2)), idb(), *E)
w('ver13', shb(ver=(1, 3)), idb(), *E)
w('ver2', shb(ver=(2, 0)), idb(), *E)
w('ver2nd', shb(), idb(), *E[:3], shb(ver=(2, 0)), idb(), *E[3:])
b = epb(fr[0])
w('trailer', shb(), idb(), E[0], b[:-4] + b'\x00\x00\x00\x01', *E[1:])
w('trunc', shb(), idb(), *E, E[0][:20])
w('garbage', shb(), idb(), *E, b'garbage!' * 10)
w('zeros', shb(), idb(), *E, b'\x00' * 100)
w('snapless', shb(), idb(snap=20), *E)
w('manyif', shb(), *[idb()] * 300, *E)
w('idbafter', shb(), E[0], idb(), *E)
w('lateidb', shb(), idb(), *E[:5], idb(lt=101), *[epb(b[14:], i=1) for b in fr[5:]])
w('shbonly', shb())
w('shbidb', shb(), idb())
w('emptysec', shb(), shb(), shb(), idb(), *E)
w('mixdlt', shb(), idb(lt=1), idb(lt=9999), epb(fr[0]), epb(fr[1], i=1), epb(fr[2]))
w('dlt9999', shb(), idb(lt=9999), *E)
w('lenunaligned', shb(), idb(), blk(153, b'abc', pad=False)[:11] + b'\x0f\x00\x00\x00', *E)
w('bigblock', shb(), idb(), blk(4660, b'\x00' * (17 << 20)), *E)
w('bigpkt', shb(), idb(), E[0], epb(b'\x00' * 262145), *E[1:])
w('bigpkt2', shb(), idb(), E[0], epb(fr[0] + b'\x00' * (262144 - len(fr[0]))), *E[1:])
w('idbshort', shb(), blk(1, b'\x01\x00\x00\x00'), *E)
w('epbshort', shb(), idb(), E[0], blk(6, b'\x00' * 16), *E[1:])
w('epbflags', shb(), idb(), *[epb(b, opts=opt(2, struct.pack('<I', 1)) + opt(4, struct.pack('<Q', 3)) + opt(3, b'\x02' + b'x' * 4) + END) for b in fr])
w('dropcount', shb(), idb(), *[epb(b, opts=opt(4, struct.pack('<Q', 3)) + END) for b in fr])
w('ts0', shb(), idb(), *[epb(b, t=0) for b in fr])
w('tsmax', shb(), idb(), *[epb(b, t=2 ** 64 - 1) for b in fr])
w('if_filter', shb(), idb(opts=opt(11, b'\x00tcp') + opt(12, b'Linux') + opt(3, b'desc') + opt(8, struct.pack('<Q', 10 ** 9)) + opt(6, b'\x02' * 6) + opt(32769, b'zz') + END), *E)
w('bom_bad', shb()[:8] + b'\x01\x02\x03\x04' + shb()[12:], idb(), *E)
w('secondbom', shb(), idb(), *E[:2], shb('>')[:8] + b'\x01\x02\x03\x04' + shb()[12:], idb(), *E)
w('pcapng_pktoption_huge', shb(), idb(), epb(fr[0], opts=opt(1, b'A' * 60000) + END), *E[1:])
w('isbbig', shb(), idb(), *E, blk(5, struct.pack('<III', 0, 1, 2) + struct.pack('<HH', 5, 4) + b'\x01\x00\x00\x00' + END))
