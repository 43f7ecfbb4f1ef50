"""Why a transform cannot be had."""


class TransformException(Exception):
    """Base of all the others."""


class LookupException(TransformException):
    """A frame is not known."""


class ConnectivityException(TransformException):
    """Two frames are not in one tree."""


class ExtrapolationException(TransformException):
    """The time asked for lies outside what has been received."""


class InvalidArgumentException(TransformException):
    """A frame name is not valid."""
