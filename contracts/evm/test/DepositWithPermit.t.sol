// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

import {ZeroAmount} from "../src/Errors.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// A deposit whose allowance is a signature.
contract DepositWithPermitTest is ConsortiumTest {
    uint256 private constant PAYER_KEY = 777;

    address private payer = vm.addr(PAYER_KEY);
    address private node;

    function setUp() public override {
        super.setUp();
        node = admitNode(1, 0);
        mint(payer, 1e28);
    }

    function testFuzz_OneTransactionWithoutAnAllowance(uint256 amount, uint256 lifetime) public {
        amount = bound(amount, 1, 1e28);
        uint256 deadline = block.timestamp + bound(lifetime, 0, 1e9);
        (uint8 v, bytes32 r, bytes32 s) = _permit(amount, deadline);

        vm.prank(payer);
        registry.depositWithPermit(node, amount, deadline, v, r, s);

        vm.assertEq(stakeOf(node), amount);
        vm.assertEq(token.balanceOf(payer), 1e28 - amount);
        vm.assertEq(token.allowance(payer, address(registry)), 0);
    }

    /// Who sees the permit uses it up first: the allowance stands, and the deposit goes through.
    function testFuzz_AFrontRunPermitDoesNoHarm(address attacker, uint256 amount) public {
        amount = bound(amount, 1, 1e28);
        uint256 deadline = block.timestamp + 60;
        (uint8 v, bytes32 r, bytes32 s) = _permit(amount, deadline);
        vm.prank(attacker);
        IERC20Permit(address(token)).permit(payer, address(registry), amount, deadline, v, r, s);

        vm.prank(payer);
        registry.depositWithPermit(node, amount, deadline, v, r, s);

        vm.assertEq(stakeOf(node), amount);
    }

    /// A permit allows the registry to take from its owner only when its owner asks.
    function testFuzz_AnotherCannotSpendThePayersPermit(address attacker, uint256 amount) public {
        vm.assume(attacker != payer && attacker != address(this) && attacker != address(0));
        amount = bound(amount, 1, 1e28);
        uint256 deadline = block.timestamp + 60;
        (uint8 v, bytes32 r, bytes32 s) = _permit(amount, deadline);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(registry), 0, amount)
        );
        vm.prank(attacker);
        registry.depositWithPermit(node, amount, deadline, v, r, s);
    }

    function testFuzz_AnExpiredOrOtherPermitIsNone(uint256 amount, uint256 signed) public {
        amount = bound(amount, 1, 1e28);
        vm.assume(signed != amount);
        (uint8 v, bytes32 r, bytes32 s) = _permit(signed, block.timestamp + 60);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(registry), 0, amount)
        );
        vm.prank(payer);
        registry.depositWithPermit(node, amount, block.timestamp + 60, v, r, s);
    }

    function test_NothingIsRefused() public {
        vm.expectRevert(ZeroAmount.selector);
        registry.depositWithPermit(node, 0, block.timestamp, 0, 0, 0);
    }

    function _permit(uint256 amount, uint256 deadline) private view returns (uint8, bytes32, bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                payer,
                address(registry),
                amount,
                nonceAt(address(token), payer),
                deadline
            )
        );
        bytes32 separator = IERC20Permit(address(token)).DOMAIN_SEPARATOR();
        return vm.sign(PAYER_KEY, keccak256(abi.encodePacked("\x19\x01", separator, structHash)));
    }
}
