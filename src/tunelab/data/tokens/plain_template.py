"""The plain form of conversations as a chat template, for the tokenizer of a model that has learned it."""

from __future__ import annotations

from typing import Any

from tunelab.data.examples.conversations import BETWEEN, HEADERS
from tunelab.data.tokens.encoded import edges

FILE = "chat_template.jinja"
"""Where transformers looks for it."""


def plain_template(tokenizer: Any) -> str:
    """Renders what `chat.plain_text` renders, with the start token that the tokenizer puts in front by itself: a
    template's text is tokenised without it."""
    start = "".join(tokenizer.convert_ids_to_tokens(edges(tokenizer).start))
    headers = "".join(
        f"{{% {'if' if number == 0 else 'elif'} message['role'] == '{role}' %}}{{{{ {header!r} }}}}"
        for number, (role, header) in enumerate(HEADERS.items())
    )
    refused = "{% else %}{{ raise_exception('no such role: ' + message['role']) }}{% endif %}"
    end = f"{{% if message['role'] == 'assistant' %}}{{{{ {tokenizer.eos_token!r} }}}}{{% endif %}}"
    between = f"{{% if not loop.last or add_generation_prompt %}}{{{{ {BETWEEN!r} }}}}{{% endif %}}"
    asked = f"{{% if add_generation_prompt %}}{{{{ {HEADERS['assistant']!r} }}}}{{% endif %}}"
    return (
        f"{{{{ {start!r} }}}}{{% for message in messages %}}{headers}{refused}"
        f"{{{{ message['content'] }}}}{end}{between}{{% endfor %}}{asked}"
    )
