"""Reasons why a transform is not available."""


class TransformException(Exception):
    """Base class of the others."""


class LookupException(TransformException):
    """A frame is unknown."""


class ConnectivityException(TransformException):
    """Two frames are not in one tree."""


class ExtrapolationException(TransformException):
    """The requested time lies outside the received transforms."""


class InvalidArgumentException(TransformException):
    """A frame name is not valid."""
