"""torch's elastic agent (torchrun), ending with its launcher: `python -m ml.training.agent PARENT ARGUMENTS...`"""

import sys

from ml.training.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    from torch.distributed.run import main

    main(sys.argv[2:])
