import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
@intrinsic
def wide(tyctx):
    def gen(ctx, b, sig, args):
        b.function.attributes._known = b.function.attributes._known | frozenset(['"prefer-vector-width"="512"'])
        b.function.attributes.add('"prefer-vector-width"="512"')
        return ctx.get_dummy_value()
    return types.void(), gen
@intrinsic
def scale2(tyctx, p, r):
    w=64 if p==types.float64 else 32; m=52 if w==64 else 23
    def gen(ctx, b, sig, args):
        it=ir.IntType(w)
        pi=b.bitcast(args[0],it); ri=b.bitcast(args[1],it)
        return b.bitcast(b.add(pi,b.shl(ri,ir.Constant(it,m))),args[0].type)
    return p(p,r), gen
C10=(1.0, 0.6931471805599453, 0.24022650695908768, 0.05550410866445883, 0.00961812910803459, 0.0013333558228561476, 0.00015403529961135955, 1.5252658116561384e-05, 1.3215662831846104e-06, 1.0208537904552164e-07, 7.037279530582804e-09)
MAGIC=1.5*2**52
@nb.njit(fastmath={'contract'},error_model='numpy',cache=True)
def exp2(t):
    t = t if t > -900.0 else -900.0
    r = t + MAGIC
    f = t - (r - MAGIC)
    g=f*f
    p = C10[10]; h = C10[9]
    p = p*g + C10[8]; h = h*g + C10[7]
    p = p*g + C10[6]; h = h*g + C10[5]
    p = p*g + C10[4]; h = h*g + C10[3]
    p = p*g + C10[2]; h = h*g + C10[1]
    p = p*g + C10[0]
    p = h*f + p
    return scale2(p,r)
