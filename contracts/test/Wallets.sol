// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Contract accounts (ERC-1271), good and bad, for the tests.

bytes4 constant MAGIC = 0x1626ba7e;

/// @dev A wallet as it should be: its one owner's key signs for it.
contract OwnedWallet {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return 0;
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        return ecrecover(digest, uint8(signature[64]), r, s) == _owner ? MAGIC : bytes4(0);
    }
}

/// @dev Says yes to everything.
contract AcceptingWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return MAGIC;
    }
}

/// @dev Answers `true` instead of the magic value.
contract LyingWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bool) {
        return true;
    }
}

/// @dev Answers the magic value, but only its four bytes.
contract ShortWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            return(0, 4)
        }
    }
}

/// @dev Reverts, with the magic value as the reason.
contract RevertingWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            revert(0, 32)
        }
    }
}

/// @dev Never answers.
contract BurningWallet {
    fallback() external {
        while (true) {}
    }
}

/// @dev Says yes with as much memory as its gas buys.
contract BombingWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            return(0, 300000)
        }
    }
}

/// @dev Says yes, but only with nearly all the gas that a relayer owes it.
contract HungryWallet {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return gasleft() > 395_000 ? MAGIC : bytes4(0);
    }
}

/// @dev Answers whatever it was made to answer, or reverts with it.
contract AnsweringWallet {
    bytes private _answer;
    bool private _reverts;

    constructor(bytes memory answer, bool reverts) {
        (_answer, _reverts) = (answer, reverts);
    }

    fallback() external {
        bytes memory answer = _answer;
        bool reverts = _reverts;
        assembly {
            if reverts { revert(add(answer, 0x20), mload(answer)) }
            return(add(answer, 0x20), mload(answer))
        }
    }
}

/// @dev Says yes, after it has tried to have something else relayed first.
contract ReenteringWallet {
    address private _target;
    bytes private _call;

    function prepare(address target, bytes calldata input) external {
        (_target, _call) = (target, input);
    }

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        (bool ok,) = _target.call{gas: 300_000}(_call);
        return ok ? bytes4(0) : MAGIC;
    }
}
