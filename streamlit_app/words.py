"""Text from users and tokenizers, made safe for Markdown."""


def plain(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+-.!|<>$~:&" else char for char in text)
