"""Attributes of a config.json that change nothing of what a model computes: data alone.

They are of four kinds, which the published files of the families here and their distilled copies
hold: where a file comes from, tokens and labels, how transformers runs a model,
and defaults of generation. Parts that only other classes of a family have, such as a classifier's
dropout, are the fifth.
"""

ORIGIN = """
    model_type architectures transformers_version _name_or_path name_or_path _commit_hash auto_map
    _from_model_config model_name unsloth_fixed unsloth_version transformers_weights
    transformers.js_config license tags language directionality
""".split()

TOKENS = """
    tokenizer_class prefix bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id
    mask_token_id unk_token_id decoder_start_token_id additional_special_tokens id2label label2id
    num_labels _num_labels problem_type finetuning_task task_specific_params n_special
    predict_special_tokens model_max_length do_lower_case
""".split()

RUNNING = """
    dtype torch_dtype use_cache output_attentions output_hidden_states output_past
    output_scores return_dict torchscript use_bfloat16 tf_legacy_loss gradient_checkpointing
    chunk_size_feed_forward n_ctx attn_implementation _attn_implementation
    _attn_implementation_internal _attn_implementation_autoset _experts_implementation
    experts_implementation _flash_attn_2_enabled _output_attentions
    keys_to_ignore_at_inference tie_last_hidden_states cross_attention_hidden_size
""".split()

GENERATION = """
    do_sample max_length min_length max_new_tokens min_new_tokens early_stopping max_time num_beams
    num_beam_groups num_return_sequences diversity_penalty temperature top_k top_p min_p typical_p
    epsilon_cutoff eta_cutoff repetition_penalty encoder_repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids force_words_ids
    forced_bos_token_id forced_eos_token_id forced_decoder_ids suppress_tokens
    begin_suppress_tokens remove_invalid_values renormalize_logits constraints sequence_bias
    exponential_decay_length_penalty return_dict_in_generate output_logits penalty_alpha
    guidance_scale low_memory cache_implementation generation_config
""".split()

OTHER_HEADS = """
    classifier_dropout classifier_dropout_prob pooler_fc_size pooler_num_attention_heads
    pooler_num_fc_layers pooler_size_per_head pooler_type summary_type summary_use_proj
    summary_activation summary_proj_to_labels summary_first_dropout
""".split()

HARMLESS = frozenset((*ORIGIN, *TOKENS, *RUNNING, *GENERATION, *OTHER_HEADS))
