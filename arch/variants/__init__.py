"""Papers' names for points of the space: functions that return a model configuration.

vanilla(layers=16)                      Vaswani et al. 2017, as a decoder
sandwich(layers=16, coefficient=6)      Press, Smith and Levy 2020
par(layers=16)                          Mandava et al. 2020
macaron(layers=12)                      Lu et al. 2019
gpt2(size='small')                      Radford et al. 2019
transformer(layers=6)                   Vaswani et al. 2017, encoder and decoder; sandwiches of both
universal(size='base', halting='act')   Dehghani et al. 2018
bert(size='base')                       Devlin et al. 2018
albert(size='base', share='sf')         Lan et al. 2019
reformer(size='enwik8')                 Kitaev, Kaiser and Levskaya 2020
shuffle_exchange(size='algorithmic')    Freivalds et al. 2019
residual_shuffle_exchange(size='lambada')   Draguns et al. 2020
neural_gpu(layers=2)                    Kaiser and Sutskever 2016
feed_forward_lm(n=5)                    Bengio et al. 2003
rwkv4(layers=12)                        Peng et al. 2023
rwkv6(layers=24)                        Peng et al. 2024
mamba(size='130m')                      Gu and Dao 2023
mamba2(size='130m')                     Dao and Gu 2024
gated_deltanet(layers=21)               Yang, Kautz and Hatamizadeh 2024
jamba(layers=32)                        Lieber et al. 2024
lstm_lm(layers=2)                       Zaremba et al. 2014, a decoder
lstm(layers=2)                          an encoder-decoder of LSTMs that attends to its encoder

Each takes more fields of the model section as keywords, which win. What an order of sublayers does
is in `arch.stacks` and `arch.sublayers`; nothing is built here.
"""

from arch.variants.algorithm_learners import neural_gpu
from arch.variants.decoders import (
    GPT2,
    decoder,
    feed_forward_lm,
    gpt2,
    gpt2_like,
    macaron,
    par,
    sandwich,
    vanilla,
)
from arch.variants.encoder_decoders import UNIVERSAL, encoder_decoder, lstm, transformer, universal
from arch.variants.masked import ALBERT, BERT, albert, bert, masked_encoder
from arch.variants.recurrent import RWKV4, lstm_lm, rwkv4, rwkv6
from arch.variants.reformers import REFORMER, reformer
from arch.variants.shuffle_exchange_networks import (
    RESIDUAL_SHUFFLE_EXCHANGE,
    SHUFFLE_EXCHANGE,
    benes,
    residual_shuffle_exchange,
    shuffle_exchange,
)
from arch.variants.state_spaces import MAMBA, MAMBA2, gated_deltanet, jamba, mamba, mamba2

VARIANTS = {
    f.__name__: f
    for f in (
        vanilla, sandwich, par, macaron, gpt2, transformer, universal, lstm, bert, albert, reformer,
        shuffle_exchange, residual_shuffle_exchange, neural_gpu, feed_forward_lm,
        rwkv4, rwkv6, mamba, mamba2, gated_deltanet, jamba, lstm_lm,
    )
}  # fmt: skip

__all__ = [
    "VARIANTS",
    "neural_gpu",
    "GPT2",
    "decoder",
    "feed_forward_lm",
    "gpt2",
    "gpt2_like",
    "macaron",
    "par",
    "sandwich",
    "vanilla",
    "UNIVERSAL",
    "encoder_decoder",
    "lstm",
    "transformer",
    "universal",
    "ALBERT",
    "BERT",
    "albert",
    "bert",
    "masked_encoder",
    "RWKV4",
    "lstm_lm",
    "rwkv4",
    "rwkv6",
    "REFORMER",
    "reformer",
    "RESIDUAL_SHUFFLE_EXCHANGE",
    "SHUFFLE_EXCHANGE",
    "benes",
    "residual_shuffle_exchange",
    "shuffle_exchange",
    "MAMBA",
    "MAMBA2",
    "gated_deltanet",
    "jamba",
    "mamba",
    "mamba2",
]
