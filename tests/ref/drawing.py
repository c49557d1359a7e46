"""Random numbers: Philox4x32-10 under key `seed`, counter (block, draw)."""
import math

import numpy as np


def philox(seed, draw, block):
    """The four 32-bit words of a block."""
    low = 0xFFFFFFFF
    x = [block & low, block >> 32, draw & low, draw >> 32]
    k0, k1 = seed & low, seed >> 32
    for _ in range(10):
        p0, p1 = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [p1 >> 32 ^ x[1] ^ k0, p1 & low, p0 >> 32 ^ x[3] ^ k1, p0 & low]
        k0, k1 = k0 + 0x9E3779B9 & low, k1 + 0xBB67AE85 & low
    return x


def words(n, seed, draw, bits=32):
    """The first n numbers of a draw, of 32 bits or of 64 (two words, low first)."""
    w = [word for block in range(-(-n * bits // 128)) for word in philox(seed, draw, block)]
    return w[:n] if bits == 32 else [w[2 * i] | w[2 * i + 1] << 32 for i in range(n)]


def uniform(n, seed, draw, low=0, high=1, bits=32):
    """[low, high), from the upper bits that the mantissa holds. bits: of the real type, here and in normal."""
    keep = 24 if bits == 32 else 53
    return np.array([low + (high - low) * (w >> bits - keep) / 2 ** keep for w in words(n, seed, draw, bits)])


def normal(n, seed, draw, mean=0, deviation=1, bits=32):
    """Box and Muller on neighbours: radius from the even number, angle from the odd one."""
    w, y = words(n + n % 2, seed, draw, bits), []
    for i in range(0, n, 2):
        r = math.sqrt(-2 * math.log(((w[i] >> 1) + 0.5) / 2 ** (bits - 1)))
        quarters, f = w[i + 1] >> bits - 2, w[i + 1] % 2 ** (bits - 2) / 2 ** (bits - 2)
        angle = (quarters + (f if f < 0.5 else f - 1)) * math.pi / 2
        y += [mean + deviation * r * math.cos(angle), mean + deviation * r * math.sin(angle)]
    return np.array(y[:n])


def bernoulli(n, seed, draw, p):
    """1 where a word lies below p 2^32; of an array p, where its upper 24 bits lie below p 2^24."""
    if np.ndim(p):
        return np.array([float((w >> 8) / 2 ** 24 < q) for w, q in zip(words(n, seed, draw), p)])
    return np.array([float(p >= 1 or w < int(p * 2 ** 32)) for w in words(n, seed, draw)])


def randint(n, seed, draw, low, high):
    return np.array([low + ((high - low) * w >> 64) for w in words(n, seed, draw, 64)], dtype=np.int64)


def randperm(n, seed, draw):
    """Fisher and Yates, inside out."""
    y = []
    for i, w in enumerate(words(n, seed, draw, 64)):
        at = (i + 1) * w >> 64
        y.append(y[at] if at < i else i)
        y[at] = i
    return np.array(y, dtype=np.int64)


def dropout_fwd(x, seed, draw, p):
    """x mask / (1 - p), and the mask."""
    mask = bernoulli(x.size, seed, draw, 1 - p).reshape(x.shape)
    return x * mask / (1 - p), mask


def dropout_bwd(dy, mask, p):
    return dy * mask / (1 - p)
