"""Chat templates of several families, written down from their public definitions, and a small tokenizer for them."""

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from tunelab.models.load import EMBEDDED

_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
)
_EACH, _END = "{% for message in messages %}", "{% endfor %}"
_ASK = "{% if add_generation_prompt %}{{ '%s' }}{% endif %}"

GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + _EACH
    + _ALTERNATE
    + "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    + _END
    + _ASK.replace("%s", "<start_of_turn>model\\n")
)
CHATML = (
    _EACH
    + "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    + _END
    + _ASK.replace("%s", "<|im_start|>assistant\\n")
)
QWEN = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n' }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] | trim }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|eot_id|>' }}" + _EACH + "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    + _END
    + _ASK.replace("%s", "<|start_header_id|>assistant<|end_header_id|>\\n\\n")
)
LLAMA2 = (
    "{% set system = '' %}{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
    + _EACH
    + _ALTERNATE
    + "{% set content = system + message['content'] if loop.index0 == 0 else message['content'] %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}" + _END
)
MISTRAL = (
    "{{ bos_token }}"
    + _EACH
    + _ALTERNATE
    + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}" + _END
)
ZEPHYR = (
    _EACH + "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}" + _END
    + _ASK.replace("%s", "<|assistant|>")
)  # fmt: skip
PHI3 = (
    _EACH + "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|im_end|>\n' }}" + _END
    + "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)  # fmt: skip
SILENT = CHATML.replace(_EACH, _EACH + "{% if message['role'] != 'system' %}").replace(_END, "{% endif %}" + _END)

FAMILIES = {
    "gemma": (GEMMA, "<end_of_turn>"),
    "chatml": (CHATML, "<|im_end|>"),
    "qwen": (QWEN, "<|im_end|>"),
    "llama-3": (LLAMA3, "<|eot_id|>"),
    "llama-2": (LLAMA2, "<|end|>"),
    "mistral": (MISTRAL, "<|end|>"),
    "zephyr": (ZEPHYR, "<|end|>"),
    "phi-3": (PHI3, "<|im_end|>"),
    "drops the system": (SILENT, "<|im_end|>"),
}
"""Template and end-of-turn token; `<|end|>` is the small tokenizer's end of text."""

REASONING = (
    _EACH + "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}" + _END + _ASK.replace("%s", "<|im_start|>assistant\\n")
    + "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)  # fmt: skip
"""An empty piece of reasoning in front of the last answer only."""

_LAST_ONLY = (
    _EACH + "{% set content = message['content'].split('</think>')[-1] if not loop.last else message['content'] %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + content + '<|im_end|>\n' }}" + _END
    + _ASK.replace("%s", "<|im_start|>assistant\\n")
)  # fmt: skip
EVIL = {
    "writes earlier turns otherwise": _LAST_ONLY,
    "changes what the assistant says, or asks": CHATML.split("{% if add_generation_prompt")[0],
    "changes what the assistant says": CHATML.replace("message['content']", "message['content'] | upper"),
    "ends the assistant's turn with no token": CHATML.replace("<|im_end|>", ""),
    "puts something else in front of an answer": CHATML.replace("assistant\\n", "assistant:\\n"),
    "leaves out or changes what the user says": CHATML.replace(
        "message['content'] +", "(message['content'] if message['role'] == 'assistant' else 'hm') +"
    ),
    "refuses the roles user: no chat": "{{ raise_exception('no chat') }}",
}
"""Templates that cannot be masked, by what the message says."""

_CALLS = (
    "{% for call in message.tool_calls %}"
    "{{ '<tool_call>' + call.function.name + ' ' + %s + '</tool_call>' }}{% endfor %}"
)
TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    + _EACH
    + "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    + "{% if message.tool_calls %}" + _CALLS.replace("%s", "call.function.arguments | tojson") + "{% endif %}"
    + "{{ '<|im_end|>\n' }}" + _END + _ASK.replace("%s", "<|im_start|>assistant\\n")
)  # fmt: skip
"""Arguments as objects, as Qwen 2.5 and LLaMA 3.1 want them."""
NULL_CALLS = (
    _EACH + "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is not defined %}" + _CALLS.replace("%s", "call.function.arguments")
    + "{% else %}{{ message['content'] }}{% endif %}"
    "{{ '<|im_end|>\n' }}" + _END + _ASK.replace("%s", "<|im_start|>assistant\\n")
)  # fmt: skip
"""Calls only where there is no content, arguments as text: much like DeepSeek V3's."""
PRINTS = TOOLS.replace("call.function.arguments | tojson", "call.function.arguments | string")
"""Writes an object of arguments as Python does; takes their text."""
THINKS = (
    _EACH + "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}"
    "{{ '<think>\n' + (message.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}" + _END + _ASK.replace("%s", "<|im_start|>assistant\\n")
    + "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)  # fmt: skip
"""Reasoning of the last answer alone, as Qwen 3's."""
NAMES = CHATML.replace("message['role'] +", "message['role'] + (' ' + message.name if message.name else '') +")
"""Names of users."""

SPECIAL = ["<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>"]


def small_tokenizer(template: str | None, *, adds_start: bool = True):
    """The embedded model's, with the families' special tokens; it puts a start token in front by itself."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.add_tokens([*SPECIAL, "<|eot_id|>"], special_tokens=True)
    if adds_start:
        start = ("<s>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[start])
        assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    tokenizer.chat_template = template
    return tokenizer
