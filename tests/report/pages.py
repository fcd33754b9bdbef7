"""A page taken apart: its tags, its text, and its drawings."""

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Tags that are open, and everything that was met."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def drawn(svg):
    """The elements of a drawing."""
    return ElementTree.fromstring(svg)


def of_class(root, name):
    return [each for each in root.iter() if name in each.get("class", "").split()]
