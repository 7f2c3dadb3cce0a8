"""Results on disk: the only room that imports h5py."""

from xai_framework.store.atomic import check_writable as check_writable
from xai_framework.store.atomic import write_atomic as write_atomic
from xai_framework.store.block import Block as Block
from xai_framework.store.block import Key as Key
from xai_framework.store.block import failed_block as failed_block
from xai_framework.store.cell import CellStore as CellStore
from xai_framework.store.cell import Store as Store
from xai_framework.store.cell import Summary as Summary
from xai_framework.store.cell import open_cell as open_cell
from xai_framework.store.claims import Claims as Claims
from xai_framework.store.garbage import Garbage as Garbage
from xai_framework.store.garbage import garbage as garbage
from xai_framework.store.identity import canonical as canonical
from xai_framework.store.identity import cell_id as cell_id
from xai_framework.store.journal import Tail as Tail
from xai_framework.store.journal import rows_digest as rows_digest
from xai_framework.store.reader import MapFile as MapFile
from xai_framework.store.reader import StoredRow as StoredRow
from xai_framework.store.run import Run as Run
from xai_framework.store.run import StoredMaps as StoredMaps
from xai_framework.store.run import open_run as open_run
from xai_framework.store.run import read_run as read_run
from xai_framework.store.run import write_run as write_run
from xai_framework.store.schema import HALVED as HALVED
from xai_framework.store.verify import Problem as Problem
from xai_framework.store.verify import digest as digest
