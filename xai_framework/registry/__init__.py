"""Plugins by name: found through entry points and local files, described without importing them, built from configs."""

from __future__ import annotations

from xai_framework.registry.names import KINDS, kind_of, plural, snake_case
from xai_framework.registry.outline import Outline
from xai_framework.registry.registry import Registry
from xai_framework.registry.schema import Schema

__all__ = ["KINDS", "Outline", "Registry", "Schema", "kind_of", "plural", "snake_case"]
