"""BLEU of translations, by sacrebleu."""

from collections.abc import Sequence


def bleu(outputs: Sequence[str], references: Sequence[str]) -> dict[str, object]:
    """BLEU of outputs against one reference each (Papineni et al. 2002; Post 2018).

    Returns:
      bleu (0 to 100), bleu_signature (how it was counted), bleu_sentences.
    """
    import sacrebleu  # half a second, which only an evaluation should cost

    metric = sacrebleu.BLEU(force=True)  # no word about text that is tokenised already
    score = metric.corpus_score(list(outputs), [list(references)])
    return {
        "bleu": score.score,
        "bleu_signature": str(metric.get_signature()),
        "bleu_sentences": len(outputs),
    }
