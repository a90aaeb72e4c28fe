// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "solady/src/utils/ECDSA.sol";
import {EIP712} from "solady/src/utils/EIP712.sol";
import {IWaybill} from "./IWaybill.sol";

/// @dev Who signed what. Keys sign 65 bytes with v 27 or 28 and a low s, so that a statement has one signature per
/// key and digest algorithm; contract wallets sign as they like (ERC-1271).
abstract contract Signatures is EIP712 {
    /// @dev Half of secp256k1's order. Of a signature's two forms the one with the higher s is refused.
    uint256 internal constant HALF_N = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
    /// @dev Enough for a P-256 check written in Solidity (about 330k) or a large multisig. A wallet can burn no more.
    uint256 private constant WALLET_GAS = 400_000;
    /// @dev What must be left for the call to really get WALLET_GAS: 64/63 of it (EIP-150), and the price of the call
    /// itself, with a delegated account (EIP-7702) at the other end.
    uint256 private constant WALLET_GAS_LEFT = 412_000;

    function _domainNameAndVersion() internal pure override returns (string memory name, string memory version) {
        return ("Waybill", "1");
    }

    /// @dev The account of the key that made the 65 bytes, or zero. Too little gas for the precompile leaves too little
    /// for anything after it (1/64), so that can't pass for a bad signature.
    function _recover(bytes32 digest, bytes calldata signature) internal view returns (address) {
        bytes32 s = bytes32(signature[32:64]);
        if (uint256(s) > HALF_N) return address(0);
        return ECDSA.tryRecover(digest, uint8(signature[64]), bytes32(signature[:32]), s);
    }

    /// @dev Keys first: an EOA that delegates to a contract (EIP-7702) still signs as a key.
    function _isSigned(address author, bytes32 structHash, bytes calldata signature) internal view returns (bool) {
        bytes32 digest = _hashTypedData(structHash);
        if (signature.length == 65) {
            address key = _recover(digest, signature);
            if (key == author && key != address(0)) return true;
        }
        return author.code.length != 0 && _isSignedByWallet(author, digest, signature);
    }

    function _pointer(bytes calldata signature) internal pure returns (uint256 pointer) {
        assembly ("memory-safe") {
            pointer := signature.offset
        }
    }

    /// @dev In assembly, because the wallet decides how much it returns, and only one word of it may cost us.
    function _isSignedByWallet(address wallet, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool valid)
    {
        // isValidSignature(bytes32,bytes)
        bytes memory question = abi.encodeWithSelector(0x1626ba7e, digest, signature);
        if (gasleft() < WALLET_GAS_LEFT) revert IWaybill.NotEnoughGas();
        assembly ("memory-safe") {
            mstore(0x00, 0)
            let ok := staticcall(WALLET_GAS, wallet, add(question, 0x20), mload(question), 0x00, 0x20)
            valid := and(and(ok, gt(returndatasize(), 0x1f)), eq(mload(0x00), shl(224, 0x1626ba7e)))
        }
    }
}
